"""Merge the shards of a run's answers into one file per benchmark, every item once, in order."""

from hra_workflow.core import diverged_runs, files, predictions
from hra_workflow.core.job import as_list, start


def main(job: dict) -> None:
    benchmark, output = job["params"]["benchmark"], job["output"]["outputs"]
    expected = files.read_json(job["input"]["dataset"])["rows"][job["params"]["split"]]
    lines = [line for path in as_list(job["input"]["shards"]) for line in predictions.read(path)]
    lines = [line for line in lines if line.pop("benchmark") == benchmark]
    predictions.write(output, predictions.complete(lines, expected, output))


if __name__ == "__main__":
    start(main, __file__, globals().get("snakemake"), diverged_runs.skipped)
