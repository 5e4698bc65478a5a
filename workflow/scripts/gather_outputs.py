"""Merge the shards of a run's answers into one file per benchmark, every item once, in order."""

from hra_workflow.core import files, finished_run, made_from, predictions
from hra_workflow.core.job import as_list, script


@script
@finished_run.unless_diverged
def main(job: dict) -> None:
    benchmark, output = job["params"]["benchmark"], job["output"]["outputs"]
    expected = files.read_json(job["input"]["dataset"])["rows"][job["params"]["split"]]
    finished_run.read(job)
    lines, head = [], {}
    for path in as_list(job["input"]["shards"]):
        head, found = predictions.read_with_head(path)
        made_from.check_input(job, "shards", head, path)
        lines += [line for line in found if line.pop("benchmark") == benchmark]
    lines = predictions.complete(lines, expected, output)
    predictions.write(output, lines, head | {"result": made_from.result(job["wildcards"])})


if __name__ == "__main__":
    main()
