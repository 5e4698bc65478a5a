"""Generate one shard of a run's images, one per control image of the validation split: EVAL/shard{i}-of-{n}.tar.

The noise of an image depends only on the run's seed and its row in the split.
"""

from pathlib import Path

from hra_workflow.core import finished_run, made_from
from hra_workflow.core.job import script
from hra_workflow.core.sharding import seed
from hra_workflow.models import image_shards
from hra_workflow.tasks.control import data as control_data
from hra_workflow.tasks.control.items import BENCHMARK, items, key
from hra_workflow.tasks.control.sampling import Sampler


@script
@finished_run.unless_diverged
def main(job: dict) -> None:
    params = job["params"]
    weights = Path(job["input"]["last"])
    record = finished_run.read(job, weights)
    split = control_data.open_split(job["input"]["dataset"], BENCHMARK)

    def about(item: tuple[int, int]) -> dict:
        row = item[1]
        name, prompt = (split.value(row, column) for column in ("key", "prompt"))
        noise = seed("control", record["seed"], row)
        return {"row": row, "key": name, "prompt": prompt + params["sampling"]["prompt_suffix"], "seed": noise}

    asked = items(record["steps"], len(split))
    by_step = {record["steps"]: weights}
    image_shards.draw(
        job, asked, about, made_from.describe(job), key, Sampler, by_step, hint=lambda item: split.hint(item[1])
    )


if __name__ == "__main__":
    main()
