"""Evaluate the control accuracy of a run's images with the evaluators of the dataset.

It writes one row per image to predictions.jsonl.gz, and the run's metrics to metrics.json. For the run of kind
`reference`, the source images are evaluated instead of generated ones, which gives the best possible scores.
"""

import time

from hra_workflow.core import finished_run, made_from, predictions, provenance
from hra_workflow.core.job import script
from hra_workflow.data import images
from hra_workflow.evaluators import aggregation, registry, scoring
from hra_workflow.evaluators.protocol import Reference
from hra_workflow.tasks.control import data as control_data
from hra_workflow.tasks.control.items import BENCHMARK, items, key


@script
@finished_run.unless_diverged
def main(job: dict) -> None:
    started = time.monotonic()
    entries, record = job["params"]["evaluators"], finished_run.read(job)
    device = provenance.pick_device(job)
    split = control_data.open_split(job["input"]["dataset"], BENCHMARK)
    rows = [{name: split.value(row, name) for name in ("key", "prompt")} for row in range(len(split))]
    reference = reference_of(split, [row["prompt"] for row in rows], itself=not job["input"].get("images"))
    evaluated = reference.images if reference.itself else generated(job, len(rows))
    of_run = scoring.score(job, device, entries, [(evaluated, reference, rows)])
    predictions.write(job["output"]["predictions"], rows)
    names = registry.metrics(entries)
    metrics = aggregation.of_run(rows, names, of_run)
    selections = {"last": {"step": record["steps"], "metrics": metrics}}
    predictions.write_metrics(job, started, device, record, len(rows), names[0], selections)
    values = ", ".join(f"{name} {one['value']:.4g}" for name, one in metrics.items())
    print(f"{len(rows)} images evaluated: {values}")


def generated(job: dict, count: int) -> images.Archive:
    path = job["input"]["images"]
    made_from.check_input(job, "images", images.made_from(path))
    return images.Archive(path, [key(item) for item in items(0, count)])


def reference_of(split: control_data.Split, prompts: list[str], itself: bool) -> Reference:
    return Reference(
        images=images.OnDemand(split.picture, len(split)),
        annotations=images.OnDemand(split.annotation, len(split)),
        prompts=prompts,
        class_prompts=prompts,
        prompt_index=range(len(prompts)),
        groups=range(len(prompts)),
        itself=itself,
    )


if __name__ == "__main__":
    main()
