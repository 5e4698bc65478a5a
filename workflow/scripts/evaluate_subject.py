"""Evaluate a run's images of a subject: subject fidelity, prompt fidelity, diversity.

It writes one row per image to predictions.jsonl.gz, and their means to metrics.json. A blocked (all-black) image has no
scores; it is counted, and the fraction of blocked images is a metric. For the run of kind `reference`, every subject
image is compared with the others, the paper's row “Real Images”.
"""

import time

from hra_workflow.core import finished_run, made_from, manifests, predictions, provenance
from hra_workflow.core.job import script
from hra_workflow.data import images
from hra_workflow.evaluators import aggregation, registry, scoring
from hra_workflow.evaluators.protocol import Reference


@script
@finished_run.unless_diverged
def main(job: dict) -> None:
    started = time.monotonic()
    evaluation, record = job["params"]["evaluation"], finished_run.read(job)
    device = provenance.pick_device(job)
    subject = [images.load(path) for path in images.listed(manifests.folder(job["input"]["dataset"]))]
    itself = not (path := job["input"].get("images"))
    if path:
        made_from.check_input(job, "images", images.made_from(path))
    rows = subject_rows(job, subject, device) if itself else generated_rows(job, subject, device)
    metrics = [*registry.metrics(evaluation["evaluators"]), "blocked"]
    metrics = [name for name in metrics if any(row.get(name) is not None for row in rows)]
    rows = [row | {name: row.get(name) for name in metrics} for row in rows]
    predictions.write(job["output"]["predictions"], rows)
    table = aggregation.table(rows, metrics, 1 if itself else len(evaluation["prompts"]))
    last = aggregation.last(table)
    best = last if itself else aggregation.best_on_test(table, evaluation["best_by"])
    selections = {
        "last": {"step": record["steps"], "metrics": aggregation.summary(last)},
        "best_on_test": {"step": None, "metrics": aggregation.summary(best)},
    }
    predictions.write_metrics(job, started, device, record, len(rows), evaluation["best_by"][0], selections)
    print(f"{len(rows)} images, {sum(row['blocked'] for row in rows):.0f} of them blocked")


def subject_rows(job: dict, subject: list, device: str) -> list[dict]:
    """Score each subject image against the others."""
    rows = [{"step": 0, "prompt_index": 0, "index": index, "blocked": 0.0} for index in range(len(subject))]
    entries = job["params"]["evaluation"]["evaluators"]
    scoring.score(job, device, entries, [(subject, Reference(images=subject, itself=True), rows)])
    return rows


def generated_rows(job: dict, subject: list, device: str) -> list[dict]:
    """Score the images of the tar file that are not blocked; one row per image, in file order.

    They are compared with all subject images, or with the image that their prompt describes.
    """
    evaluation, pictures = job["params"]["evaluation"], list(images.unpack(job["input"]["images"]))
    rows = [{"key": one.key} | one.about | {"blocked": float(one.about["blocked"])} for one in pictures]
    visible = [index for index, row in enumerate(rows) if not row["blocked"]]
    groups = [(visible, subject)]
    if "references" in evaluation:
        groups = [
            ([index for index in visible if rows[index]["prompt_index"] == prompt], [subject[number]])
            for prompt, number in enumerate(evaluation["references"])
        ]
    parts = [part(evaluation, pictures, rows, *group) for group in groups]
    scoring.score(job, device, evaluation["evaluators"], parts)
    return rows


def part(evaluation: dict, pictures: list, rows: list[dict], chosen: list[int], real: list) -> tuple:
    """Return the `chosen` images, their reference and their rows."""
    scored = [rows[index] for index in chosen]
    reference = Reference(
        images=real,
        prompts=evaluation["prompts"],
        class_prompts=evaluation["prompts_class"],
        prompt_index=[row["prompt_index"] for row in scored],
        groups=[(row["step"], row["prompt_index"]) for row in scored],
    )
    return images.OnDemand(lambda index: pictures[chosen[index]].image, len(chosen)), reference, scored


if __name__ == "__main__":
    main()
