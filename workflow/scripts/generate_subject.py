"""Generate one shard of a run's images, (step, prompt, index): EVAL/shard{i}-of-{n}.tar.

The base model is loaded once; the weights of each step are loaded into it.
"""

from pathlib import Path

from hra_workflow.core import finished_run, made_from, manifests
from hra_workflow.core.errors import JobError
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
    weights = {step: weights_at(job, record, step) for step in params["steps"]}
    manifests.check_weights(record, job["input"]["record"], *weights.values())
    head = made_from.describe(job)

    def about(item: tuple[int, int, int]) -> dict:
        step, prompt, index = item
        text = params["prompts"][prompt]
        noise = seed("image", record["seed"], text, index)  # equal at every step
        return {"step": step, "prompt_index": prompt, "prompt": text, "index": index, "seed": noise}

    images = items(params["steps"], len(params["prompts"]), params["sampling"]["images"])
    image_shards.draw(job, images, about, head, key, Sampler, weights)


def weights_at(job: dict, record: dict, step: int) -> Path:
    """Return the weights file of a step; raise JobError if the run has not kept it."""
    last = step == record["steps"]
    path = Path(job["input"]["last"] if last else f"{job['input']['steps']}/{step}/{adapters.WEIGHTS}")
    if not path.exists():
        raise JobError(
            f"{path}: no such file; expected the weights after step {step} of {record['steps']}. "
            f"Delete {job['input']['record']} and run again."
        )
    return path


if __name__ == "__main__":
    main()
