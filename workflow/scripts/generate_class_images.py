"""Generate the class images for prior preservation with the base model, once per class."""

from hra_workflow.core import made_from
from hra_workflow.core.job import script
from hra_workflow.core.sharding import seed
from hra_workflow.models import image_shards
from hra_workflow.models.diffusion.sampling import Sampler
from hra_workflow.tasks.subject.items import items, key


@script
def main(job: dict) -> None:
    params = job["params"]
    text = params["prompts"][0]

    def about(item: tuple[int, int, int]) -> dict:
        return {"prompt": text, "index": item[2], "seed": seed("class image", 0, text, item[2])}

    images = items([0], 1, params["sampling"]["images"])
    image_shards.draw(job, images, about, made_from.describe(job), key, Sampler)


if __name__ == "__main__":
    main()
