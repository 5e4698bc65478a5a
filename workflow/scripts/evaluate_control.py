"""Judge how well a run's images follow their hints, by the evaluators that the dataset names.

A row an image in predictions.jsonl.gz, what they come to in metrics.json. For the run of kind `reference` the
photographs take the place of the images: what the evaluators see in them is the best that can be reached.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy
from PIL.Image import Image

from common.core import files, manifests, predictions, provenance
from common.core.job import start
from common.data import images
from common.evaluators import aggregation
from common.report.run_statistics import as_list
from common.tasks.control import data as control_data
from common.tasks.control import task as controls
from common.tasks.control.items import BENCHMARK, items, key


def main(job: dict) -> None:
    started = time.monotonic()
    params, record = job["params"], files.read_json(job["input"]["record"])
    manifests.check_hints(record, job["input"]["dataset"])
    device = provenance.pick_device(job["resources"].get("gpu", 0), params.get("device"))
    judge = Judge(job, device)
    metrics = {}
    for evaluator in params["evaluators"]:
        metrics |= judge.judge(evaluator)
    predictions.write(job["output"]["predictions"], judge.rows)
    score = controls.metrics(params["evaluators"])[0]
    selections = {"last": {"step": record["steps"], "metrics": metrics}}
    predictions.write_metrics(job, started, device, record, len(judge.rows), score, selections)
    values = ", ".join(f"{name} {one['value']:.4g}" for name, one in metrics.items())
    print(f"{len(judge.rows)} images judged: {values}")


class Judge:
    """The images of a run, their photographs and annotations, and `rows` of what is known of each image."""

    def __init__(self, job: dict, device: str):
        self.split = control_data.opened(job["input"]["dataset"], BENCHMARK)
        self.images, self.device = job["input"].get("images"), device
        models = [Path(path) for path in as_list(job["input"].get("models"))]
        self.manifests = {path.name.removesuffix(".manifest.json"): path for path in models}
        names = ("key", "prompt")
        self.rows = [{name: self.split.value(row, name) for name in names} for row in range(len(self.split))]

    def photographs(self) -> Iterator[Image]:
        return (self.split.picture(row) for row in range(len(self.split)))

    def judged(self) -> Iterator[Image]:
        """The run's images, in the order of the rows; the photographs where it has none."""
        if not self.images:
            yield from self.photographs()
            return
        expected = [key(item) for item in items(0, len(self.rows))]
        for picture in images.complete(images.unpack(self.images), expected, self.images):
            yield picture.image

    def judge(self, evaluator: dict) -> dict[str, dict[str, float]]:
        """Metric -> `value` and `stderr`; what it is of each image goes into the rows."""
        from common.tasks.control import metrics as control_metrics

        name, kind = evaluator["name"], evaluator["kind"]
        folder = manifests.folder(self.manifests[evaluator["model"]]) if "model" in evaluator else None
        if kind == "fid":
            if not self.images:
                return {}  # of the photographs to themselves
            value = control_metrics.fid(self.photographs(), self.judged(), folder, self.device)
            return {name: {"value": value, "stderr": 0.0}}
        if kind in controls.SEGMENTATION:
            return self.segmentation(name, evaluator, folder)
        if kind in controls.LANDMARKS:
            from common.evaluators import landmarks

            detector = landmarks.load(evaluator, folder, self.device)
            scores = lambda row, image: control_metrics.landmark_scores(  # noqa: E731
                detector.faces(image), self.split.annotation(row), image.size
            )
        else:
            scores = lambda row, image: control_metrics.edge_scores(image, self.split.picture(row))  # noqa: E731
        found = [scores(row, image) for row, image in self.progress(name)]
        named = [{f"{name}_{short(key)}": value for key, value in one.items()} for one in found]
        for row, values in zip(self.rows, named, strict=True):
            row |= values
        columns = {key: numpy.array([one[key] for one in named], float) for key in named[0]}
        return aggregation.summary(columns)

    def segmentation(self, name: str, evaluator: dict, folder: Path | None) -> dict[str, dict[str, float]]:
        from common.evaluators import segmentation
        from common.tasks.control import metrics as control_metrics

        segmenter, areas = segmentation.load(evaluator, folder, self.device), []
        for row, image in self.progress(name):
            found = control_metrics.class_areas(segmenter.classes(image), self.split.annotation(row))
            areas.append(found)
            known = found[2].any()  # an image without a labelled pixel has no score of its own
            own = control_metrics.segmentation_scores(found) if known else {}
            self.rows[row] |= {f"{name}_{key}": float(value) for key, value in own.items()}
        found = control_metrics.segmentation_summary(numpy.array(areas))
        return {f"{name}_{key}": value for key, value in found.items()}

    def progress(self, name: str) -> Iterator[tuple[int, Image]]:
        from tqdm import tqdm

        return tqdm(enumerate(self.judged()), total=len(self.rows), desc=name, unit="image", disable=None)


def short(key: str) -> str:
    return key.removeprefix("canny_").removeprefix("landmark_")


if __name__ == "__main__":
    start(main, __file__, globals().get("snakemake"))
