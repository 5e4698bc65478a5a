"""Generate one shard of a run's images, (step, prompt, index): EVAL/shard{i}-of-{n}.tar.

The base model is loaded once; the weights of each step are loaded into it.
"""

from pathlib import Path

from hra_workflow.core import finished_run, made_from, manifests
from hra_workflow.core.job import script
from hra_workflow.core.sharding import seed
from hra_workflow.models import adapters, image_shards
from hra_workflow.models.diffusion.sampling import Sampler
from hra_workflow.tasks.subject.items import items, key


@script
@finished_run.unless_diverged
def main(job: dict) -> None:
    params = job["params"]
    record = finished_run.read(job)
    weights = {step: Path(job["input"]["steps"], str(step), adapters.WEIGHTS) for step in params["steps"]}
    weights |= {step: Path(job["input"]["last"]) for step in params["steps"] if step == record["steps"]}
    manifests.check_weights(record, job["input"]["record"], *weights.values())
    head = made_from.describe(job)

    def about(item: tuple[int, int, int]) -> dict:
        step, prompt, index = item
        text = params["prompts"][prompt]
        noise = seed("image", record["seed"], text, index)  # equal at every step
        return {"step": step, "prompt_index": prompt, "prompt": text, "index": index, "seed": noise}

    images = items(params["steps"], len(params["prompts"]), params["sampling"]["images"])
    image_shards.draw(job, images, about, head, key, Sampler, weights)


if __name__ == "__main__":
    main()
