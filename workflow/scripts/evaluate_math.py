"""Grade a run's answers to one mathematical benchmark: strict, lenient and by the official repository's rules."""

import math
import time
from concurrent.futures import ThreadPoolExecutor

from common.core import files, manifests, predictions
from common.core.errors import JobError
from common.core.job import start
from common.tasks.math import answers


def main(job: dict) -> None:
    from tqdm import tqdm

    started = time.monotonic()
    params = job["params"]
    style, record = params["answer"], files.read_json(job["input"]["record"])
    golds = gold_answers(job["input"]["dataset"], params["split"], style)
    lines = predictions.complete(predictions.read(job["input"]["outputs"]), len(golds), job["input"]["outputs"])

    # Threads, since each waits for its own worker process (sandbox.py); the results keep the order of the items.
    with ThreadPoolExecutor(job["threads"]) as pool:
        graded = pool.map(lambda line, gold: answers.grade(style, line["output"], gold), lines, golds)
        verdicts = list(tqdm(graded, desc="grade", total=len(golds), disable=None))

    if "strict" in params["metrics"] and not any(answers.MARK in line["output"] for line in lines):
        print(
            f"Warning: none of {len(lines)} outputs contains “{answers.MARK}”, after which `strict` expects the "
            "answer, so `strict` is 0 regardless of the model. Compare `lenient`, or train on data in that format."
        )
    predictions.write(
        job["output"]["predictions"],
        (line | {"gold": gold} | verdict for line, gold, verdict in zip(lines, golds, verdicts, strict=True)),
    )
    accuracies = {way: accuracy([verdict[way]["right"] for verdict in verdicts]) for way in params["metrics"]}
    selections = {"last": {"step": record["steps"], "metrics": accuracies}}
    predictions.write_metrics(job, started, "cpu", record, len(golds), params["score"], selections)


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


def accuracy(right: list[bool]) -> dict[str, float]:
    """Compute the fraction of correct answers and its standard error √(p(1−p)/(n−1))."""
    n, value = len(right), sum(right) / len(right)
    return {"value": value, "stderr": math.sqrt(value * (1 - value) / max(n - 1, 1))}


if __name__ == "__main__":
    start(main, __file__, globals().get("snakemake"))
