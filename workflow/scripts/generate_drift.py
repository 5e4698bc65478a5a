"""Generate the images of class prompts, without identifier and control image, with the base model or a run's weights.

The noise of an image depends only on its prompt and its index, so each run's image has a counterpart of the base model.
"""

from pathlib import Path
from pkgutil import resolve_name

from hra_workflow.core import diverged_runs, made_by, manifests, records
from hra_workflow.core.job import start
from hra_workflow.core.sharding import seed
from hra_workflow.models import image_shards
from hra_workflow.tasks.control import data as control_data
from hra_workflow.tasks.control.items import BENCHMARK
from hra_workflow.tasks.subject.items import items, key


def main(job: dict) -> None:
    params, inputs = job["params"], job["input"]
    head, weights = made_by.describe(job), None
    if "record" in inputs:
        record = records.read(inputs["record"])
        manifests.check_trained_on(record, inputs["model"])
        head = made_by.describe(job, manifests.check_weights(record, inputs["record"], inputs["last"]))
        weights = {0: Path(inputs["last"])}
    prompts = params["prompts"] or captions(inputs["dataset"], params["captions"])

    def about(item: tuple[int, int, int]) -> dict:
        _, prompt, index = item
        noise = seed("drift", prompts[prompt], index)
        return {"prompt_index": prompt, "prompt": prompts[prompt], "index": index, "seed": noise}

    one = {
        "wildcards": job["wildcards"] | {"shard": "0", "n_shards": "1"},
        "output": {"shard": job["output"]["images"]},
    }
    images = items([0], len(prompts), params["sampling"]["images"])
    sampler = resolve_name(params["sampler"])
    image_shards.draw(job | one, images, about, head, key, sampler, weights)


def captions(manifest: str, count: int) -> list[str]:
    """Return the prompts of the first rows of the evaluated split."""
    split = control_data.open_split(manifest, BENCHMARK)
    return [split.value(row, "prompt") for row in range(min(count, len(split)))]


if __name__ == "__main__":
    start(main, __file__, globals().get("snakemake"), diverged_runs.skip_diverged)
