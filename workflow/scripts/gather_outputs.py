"""Merge the shards of a run's answers into one file per benchmark, every item once, in order."""

from hra_workflow.core import diverged_runs, files, made_by, predictions, records
from hra_workflow.core.job import as_list, start


def main(job: dict) -> None:
    benchmark, output = job["params"]["benchmark"], job["output"]["outputs"]
    expected = files.read_json(job["input"]["dataset"])["rows"][job["params"]["split"]]
    record, lines, head = records.read(job["input"]["record"]), [], {}
    run = {name: job["wildcards"][name] for name in made_by.RUN}  # a shard has the answers to all benchmarks
    for path in as_list(job["input"]["shards"]):
        head, found = predictions.read_with_head(path)
        made_by.check_generated(path, head, record, run, job["params"]["generated"])
        lines += [line for line in found if line.pop("benchmark") == benchmark]
    lines = predictions.complete(lines, expected, output)
    predictions.write(output, lines, head | {"result": made_by.result(job["wildcards"])})


if __name__ == "__main__":
    start(main, __file__, globals().get("snakemake"), diverged_runs.skip_diverged)
