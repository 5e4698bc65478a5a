"""Generate one shard of a run's images, one per control image of the validation split: EVAL/shard{i}-of-{n}.tar.

The noise of an image depends only on the run's seed and its row in the split. The images of a base model do not depend
on the control images, since its hint encoder adds zero: if only these have changed, its earlier images are kept.
"""

from collections.abc import Callable
from itertools import chain
from operator import ge
from pathlib import Path

from hra_workflow import methods
from hra_workflow.core import finished_run, made_from, sharding
from hra_workflow.core.errors import JobError
from hra_workflow.core.job import script
from hra_workflow.core.sharding import seed
from hra_workflow.data import images
from hra_workflow.models import image_shards
from hra_workflow.tasks.control import data as control_data
from hra_workflow.tasks.control.items import BENCHMARK, items, key
from hra_workflow.tasks.control.sampling import Sampler


@script
@finished_run.unless_diverged
def main(job: dict) -> None:
    params = job["params"]
    weights = Path(job["input"]["last"])
    record, head = finished_run.read(job, weights), made_from.describe(job)
    split = control_data.open_split(job["input"]["dataset"], BENCHMARK)

    def about(item: tuple[int, int]) -> dict:
        row = item[1]
        name, prompt = (split.value(row, column) for column in ("key", "prompt"))
        noise = seed("control", record["seed"], row)
        return {"row": row, "key": name, "prompt": prompt + params["sampling"]["prompt_suffix"], "seed": noise}

    asked, weights = items(record["steps"], len(split)), {record["steps"]: weights}
    if methods.entry(params["method"]).trains or not kept_earlier(job, asked, about, head):
        image_shards.draw(job, asked, about, head, key, Sampler, weights, hint=lambda item: split.hint(item[1]))


def kept_earlier(job: dict, asked: list[tuple], about: Callable[[tuple], dict], head: dict) -> bool:
    """Write the shard from the run's earlier images, if they differ in their control images only; return whether."""
    shard, model = Path(job["output"]["shard"]), job["input"]["model"]
    earlier, index, count = (
        shard.with_name("images.tar"),
        *(int(job["wildcards"][one]) for one in ("shard", "n_shards")),
    )
    batches = sharding.part(sharding.batches(asked, job["params"]["sampling"]["batch_size"]), index, count)
    wanted = {key(item): about(item) for item in chain.from_iterable(batches)}

    def without_hints(made: dict) -> list:
        return [made.get("result"), made.get("settings"), made.get("inputs", {}).get(model)]

    def those_wanted(pixels: Callable[[dict], bool] | None):
        return (one for one in images.unpack(earlier, pixels) if one.key in wanted)

    try:
        if not earlier.exists() or without_hints(images.made_from(earlier)) != without_hints(head):
            return False
        found = [one.about.items() for one in those_wanted(lambda about: False)]
    except JobError:  # a damaged archive
        return False
    if len(found) != len(wanted) or not all(map(ge, found, (one.items() for one in wanted.values()))):
        return False
    images.pack(shard, those_wanted(lambda about: True), len(wanted), head)
    print(f"{len(wanted)} images, all kept: those of a base model do not depend on the control images")
    return True


if __name__ == "__main__":
    main()
