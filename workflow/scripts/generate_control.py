"""Generate one shard of a run's images, one per control image of the validation split: EVAL/shard{i}-of-{n}.tar.

The noise of an image depends only on the run's seed and its row in the split.
"""

from pathlib import Path

from hra_workflow.core import diverged_runs, made_by, manifests, records
from hra_workflow.core.job import start
from hra_workflow.core.sharding import seed
from hra_workflow.models import image_shards
from hra_workflow.tasks.control import data as control_data
from hra_workflow.tasks.control.items import BENCHMARK, items, key
from hra_workflow.tasks.control.sampling import Sampler


def main(job: dict) -> None:
    params = job["params"]
    record, weights = records.read(job["input"]["record"]), Path(job["input"]["last"])
    manifests.check_trained_on(record, job["input"]["model"])
    head = made_by.describe(job, manifests.check_weights(record, job["input"]["record"], weights))
    manifests.check_hints(record, job["input"]["dataset"])
    split = control_data.open_split(job["input"]["dataset"], BENCHMARK)

    def about(item: tuple[int, int]) -> dict:
        row = item[1]
        name, prompt = (split.value(row, column) for column in ("key", "prompt"))
        noise = seed("control", record["seed"], row)
        return {"row": row, "key": name, "prompt": prompt + params["sampling"]["prompt_suffix"], "seed": noise}

    images, weights = items(record["steps"], len(split)), {record["steps"]: weights}
    image_shards.draw(job, images, about, head, key, Sampler, weights, hint=lambda item: split.hint(item[1]))


if __name__ == "__main__":
    start(main, __file__, globals().get("snakemake"), diverged_runs.skip_diverged)
