"""Judge a run's images of a subject: likeness to its photographs, faithfulness to the prompts, variety.

A row an image in predictions.jsonl.gz, their means in metrics.json. Features are computed once per image and kept in
the scratch folder. A blocked (all-black) image has no scores; it is counted, and its share is a metric of its own. For
the run of kind `reference` the subject's photographs are judged against each other, the paper's row “Real Images”.
"""

import time
from collections import defaultdict
from pathlib import Path

from common.core import files, fingerprints, manifests, predictions, provenance
from common.core.job import start
from common.data import images, safe_checkpoints
from common.demo import prompt_fidelity
from common.evaluators import aggregation
from common.methods import METHODS
from common.report.run_statistics import as_list
from common.tasks.subject import task as subjects


def main(job: dict) -> None:
    started = time.monotonic()
    params = job["params"]
    evaluation, record = params["evaluation"], files.read_json(job["input"]["record"])
    device = provenance.pick_device(job["resources"].get("gpu", 0), params.get("device"))
    real = [images.load(path) for path in images.listed(manifests.folder(job["input"]["dataset"]))]
    judge = Judge(job, real, device)
    metrics = subjects.metrics(evaluation["evaluators"])
    if METHODS[params["method"]["kind"]].real_images:
        rows = judge.reference()
        prompts, selections = (
            1,
            lambda scores: {"last": aggregation.last(scores), "best_on_test": aggregation.last(scores)},
        )
    else:
        pictures = list(images.unpack(job["input"]["images"]))
        rows = judge.generated(pictures)
        prompts = len(evaluation["prompts"])
        selections = lambda scores: {  # noqa: E731
            "last": aggregation.last(scores),
            "best_on_test": aggregation.best_on_test(scores, evaluation["best_by"]),
        }
    metrics = [name for name in metrics if any(row.get(name) is not None for row in rows)]
    rows = [row | {name: row.get(name) for name in metrics} for row in rows]
    predictions.write(job["output"]["predictions"], rows)
    chosen = selections(aggregation.table(rows, metrics, prompts))
    selections = {
        name: {"step": record["steps"] if name == "last" else None, "metrics": aggregation.summary(values)}
        for name, values in chosen.items()
    }
    predictions.write_metrics(job, started, device, record, len(rows), evaluation["best_by"][0], selections)
    blocked = sum(row["blocked"] or 0 for row in rows)
    print(f"{len(rows)} images, {blocked:.0f} of them blocked")


class Judge:
    """The evaluators of the config on one subject."""

    def __init__(self, job: dict, real: list, device: str):
        self.job, self.real, self.device = job, real, device
        self.evaluation = job["params"]["evaluation"]
        models = [Path(path) for path in as_list(job["input"].get("models"))]
        self.manifests = {path.name.removesuffix(".manifest.json"): path for path in models}
        sources = [path for path in (job["input"].get("images"),) if path]
        self.content = [files.sha256(path) for path in sources] + [files.sha256(job["input"]["dataset"])]

    def load(self, entry: dict):
        from common.evaluators import image_features

        return image_features.load(entry, manifests.folder(self.manifests[entry["model"]]), self.device)

    def features(self, name: str, entry: dict, compute) -> dict:
        """Tensors of an evaluator, from the scratch folder where they are there."""
        from safetensors.torch import save_file

        weights = files.read_json(self.manifests[entry["model"]])["sha256"]
        prompts = [self.evaluation["prompts"], self.evaluation["prompts_class"]]
        digest = fingerprints.digest([entry, weights, self.content, *prompts, self.job["params"]["task_version"]])
        path = Path(self.job["params"]["scratch"]) / "features" / f"{name}-{digest}.safetensors"
        if not path.exists():
            computed = {key: tensor.contiguous() for key, tensor in compute(self.load(entry)).items()}
            with files.replacing(path) as temporary:
                save_file(computed, temporary)
        return safe_checkpoints.load(path)

    def generated(self, pictures: list) -> list[dict]:
        """One row an image, in the order of the tar file."""
        rows = [{"key": picture.key} | picture.about for picture in pictures]
        for row in rows:
            row["blocked"] = float(row["blocked"])
        seen = [index for index, row in enumerate(rows) if not row["blocked"]]
        for entry in self.evaluation["evaluators"]:
            for metric, values in self.scores(entry["name"], entry, pictures, rows, seen).items():
                for index, value in values.items():
                    rows[index][metric] = value
        return rows

    def scores(self, name: str, entry: dict, pictures: list, rows: list[dict], seen: list[int]) -> dict[str, dict]:
        """Metric -> place of an image -> its score."""
        if not seen:
            return {}
        if entry["kind"] == "faithfulness":
            return {name: self.faithful(pictures, rows, seen)}
        if "lpips" in entry["kind"]:
            return self.distances(name, entry, pictures, rows, seen)

        def compute(evaluator) -> dict:
            shown = [pictures[index].image for index in seen]
            found = {"generated": evaluator.images(shown), "real": evaluator.images(self.real)}
            if entry["kind"] == "clip":
                found |= {key: evaluator.texts(self.evaluation[key]) for key in ("prompts", "prompts_class")}
            return found

        tensors = self.features(name, entry, compute)
        likeness = (tensors["generated"] @ tensors["real"].T).mean(1).tolist()
        result = {name if entry["kind"] != "clip" else f"{name}_i": dict(zip(seen, likeness, strict=True))}
        if entry["kind"] == "clip":
            asked = [rows[index]["prompt_index"] for index in seen]
            for key, metric in (("prompts", f"{name}_t"), ("prompts_class", f"{name}_t_class")):
                values = (tensors["generated"] * tensors[key][asked]).sum(1).tolist()
                result[metric] = dict(zip(seen, values, strict=True))
        return result

    def faithful(self, pictures: list, rows: list[dict], seen: list[int]) -> dict[int, float]:
        """The share of what the prompt names that is to be seen, where it names anything that can be measured."""
        found = {}
        for index in seen:
            prompt = self.evaluation["prompts_class"][rows[index]["prompt_index"]]
            if right := prompt_fidelity.checks(pictures[index].image, prompt):
                found[index] = sum(right.values()) / len(right)
        return found

    def distances(self, name: str, entry: dict, pictures: list, rows: list[dict], seen: list[int]) -> dict[str, dict]:
        """LPIPS to the photographs, and to the other images of the same step and prompt."""
        import torch

        groups = defaultdict(list)
        for place, index in enumerate(seen):
            groups[rows[index]["step"], rows[index]["prompt_index"]].append(place)

        def compute(evaluator) -> dict:
            real = evaluator.embed(self.real)
            to_real, to_others = torch.zeros(len(seen)), torch.full((len(seen),), torch.nan)
            for places in groups.values():
                embedded = evaluator.embed([pictures[seen[place]].image for place in places])
                to_real[places] = evaluator.between(embedded, real).mean(1)
                if len(places) > 1:
                    to_others[places] = evaluator.between(embedded, embedded).sum(1) / (len(places) - 1)
            return {"_real": to_real, "_diversity": to_others}

        return {
            name + ending: {index: value for index, value in zip(seen, values.tolist(), strict=True) if value == value}
            for ending, values in self.features(name, entry, compute).items()
        }

    def reference(self) -> list[dict]:
        """One row a photograph: its mean score against the others."""
        rows = [{"step": 0, "prompt_index": 0, "index": index, "blocked": 0.0} for index in range(len(self.real))]
        others = max(len(self.real) - 1, 1)
        for entry in self.evaluation["evaluators"]:
            if entry["kind"] == "faithfulness" or len(self.real) < 2:
                continue
            evaluator = self.load(entry)
            if "lpips" in entry["kind"]:
                values = evaluator.distances(self.real, self.real).sum(1) / others
                endings = subjects.LPIPS
            else:
                found = evaluator.images(self.real)
                values = ((found @ found.T).sum(1) - 1) / others
                endings = ["_i"] if entry["kind"] == "clip" else [""]
            for row, value in zip(rows, values.tolist(), strict=True):
                row |= {entry["name"] + ending: value for ending in endings}
        return rows


if __name__ == "__main__":
    start(main, __file__, globals().get("snakemake"))
