"""Grade a run's answers to one mathematical benchmark with all graders (tasks/math/graders.py)."""

import time

from hra_workflow.core import finished_run, made_from, manifests, predictions
from hra_workflow.core.errors import JobError
from hra_workflow.core.job import script
from hra_workflow.tasks.math import answers


@script
@finished_run.unless_diverged
def main(job: dict) -> None:
    started = time.monotonic()
    params = job["params"]
    style, record = params["answer"], finished_run.read(job)
    golds = gold_answers(job["input"]["dataset"], params["split"], style)
    head, lines = predictions.read_with_head(job["input"]["outputs"])
    made_from.check_input(job, "outputs", head)
    lines = predictions.complete(lines, len(golds), job["input"]["outputs"])

    verdicts = answers.grade_all(style, [line["output"] for line in lines], golds, job["threads"], params["metrics"])

    predictions.write(
        job["output"]["predictions"],
        (line | {"gold": gold} | verdict for line, gold, verdict in zip(lines, golds, verdicts, strict=True)),
    )
    accuracies = {way: answers.accuracy([verdict[way]["right"] for verdict in verdicts]) for way in params["metrics"]}
    selections = {"last": {"step": record["steps"], "metrics": accuracies}}
    backends = sorted({line["backend"] for line in lines})  # several after an update between two shards
    generation = {"backend": ", ".join(backends), "serve": lines[0]["serve"]}
    predictions.write_metrics(
        job, started, "cpu", record, len(golds), params["score"], selections, generation=generation
    )


def gold_answers(manifest: str, split: str, style: str) -> list[str]:
    """Read the reference answers of a split."""
    import pandas

    golds = []
    for row, text in enumerate(pandas.read_parquet(manifests.folder(manifest) / f"{split}.parquet")["answer"]):
        try:
            golds.append(answers.gold(style, text))
        except ValueError as problem:
            raise JobError(
                f"{manifest}, split {split}, row {row}: {problem}. "
                f"Correct the data, or the dataset's `answer` in the config ({style})."
            ) from problem
    return golds


if __name__ == "__main__":
    main()
