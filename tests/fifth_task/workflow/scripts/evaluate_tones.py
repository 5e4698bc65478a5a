"""Compute the accuracy of a run's last weights on the test tones."""

import time
from pathlib import Path

from hra_workflow.core import finished_run, manifests, predictions
from hra_workflow.core.job import script
from hra_workflow.models import adapters
from hra_workflow.tasks.tones import network


@script
@finished_run.unless_diverged
def main(job: dict) -> None:
    import torch

    started, inputs = time.monotonic(), job["input"]
    record = finished_run.read(job, inputs["last"])
    waves, pitches = network.rows(manifests.folder(inputs["dataset"]), job["wildcards"]["benchmark"])
    model = network.load(manifests.folder(inputs["model"]))
    model = adapters.load(model, job["params"]["method"], Path(inputs["last"]).parent)
    with torch.inference_mode():
        heard = model(waves).argmax(dim=1)
    right = heard == pitches
    lines = zip(pitches.tolist(), heard.tolist(), right.tolist(), strict=True)
    predictions.write(
        job["output"]["predictions"],
        (
            {"item": item, "pitch": pitch, "heard": found, "accuracy": float(correct)}
            for item, (pitch, found, correct) in enumerate(lines)
        ),
    )
    accuracy, n = right.float().mean().item(), len(right)
    value = {"value": accuracy, "stderr": (accuracy * (1 - accuracy) / (n - 1)) ** 0.5}
    selections = {"last": {"step": record["steps"], "metrics": {"accuracy": value}}}
    predictions.write_metrics(job, started, "cpu", record, n, "accuracy", selections)


if __name__ == "__main__":
    main()
