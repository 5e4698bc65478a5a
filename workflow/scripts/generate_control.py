"""Draw one shard of a run's images, one for each hint of the validation split, into EVAL/shard{i}-of-{n}.tar.

Batches are cut from all images before they are dealt to the shards, so an image meets the same neighbours in any number
of them and comes out the same to the bit. Its noise depends on the run's seed and on its place in the split alone.
"""

from pathlib import Path

from common.core import files, manifests
from common.core.job import start
from common.models import image_shards
from common.tasks.control import data as control_data
from common.tasks.control import task as controls
from common.tasks.subject import task as subjects


def main(job: dict) -> None:
    params = job["params"]
    record, weights = files.read_json(job["input"]["record"]), Path(job["input"]["last"])
    manifests.check_trained_on(record, job["input"]["model"])
    manifests.check_weights(record, job["input"]["record"], weights)
    manifests.check_hints(record, job["input"]["dataset"])
    split = control_data.opened(job["input"]["dataset"], controls.BENCHMARK)

    def about(item: tuple[int, int]) -> dict:
        row = item[1]
        key, prompt = (split.value(row, name) for name in ("key", "prompt"))
        seed = subjects.seed("control", record["seed"], row)
        return {"row": row, "key": key, "prompt": prompt + params["sampling"]["prompt_suffix"], "seed": seed}

    identity = {
        "model": record["model"]["sha256"],
        "weights": files.sha256(weights),
        "seed": record["seed"],
        "hints": files.read_json(job["input"]["dataset"])["sha256"],
        "method": params["method"],
    }
    items = controls.items(record["steps"], len(split))
    image_shards.draw(
        job,
        items,
        about,
        identity,
        {record["steps"]: weights},
        key=controls.key,
        hint=lambda item: split.hint(item[1]),
    )


if __name__ == "__main__":
    start(main, __file__, globals().get("snakemake"))
