"""Merge the shards of generated outputs into one file, every item once, in order."""

from common.core import files, predictions
from common.core.job import start


def main(job: dict) -> None:
    shards = job["input"]["shards"]
    expected = files.read_json(job["input"]["dataset"])["rows"][job["params"]["split"]]
    lines = [line for path in ([shards] if isinstance(shards, str) else shards) for line in predictions.read(path)]
    predictions.write(job["output"]["outputs"], predictions.complete(lines, expected, job["output"]["outputs"]))


if __name__ == "__main__":
    start(main, __file__, globals().get("snakemake"))
