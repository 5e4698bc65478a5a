"""Draw one shard of the images that stand for a class in prior preservation: by the model as it came, once a class."""

from common.core import files
from common.core.job import start
from common.models import image_shards
from common.tasks.subject import task as subjects


def main(job: dict) -> None:
    params = job["params"]
    text = params["prompts"][0]

    def about(item: tuple[int, int, int]) -> dict:
        return {"prompt": text, "index": item[2], "seed": subjects.seed("class image", params["seed"], text, item[2])}

    identity = {"model": files.read_json(job["input"]["model"])["sha256"], "prompt": text, "seed": params["seed"]}
    image_shards.draw(job, subjects.items([0], 1, params["sampling"]["images"]), about, identity)


if __name__ == "__main__":
    start(main, __file__, globals().get("snakemake"))
