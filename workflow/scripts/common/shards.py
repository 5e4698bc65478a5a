"""One shard of a set of images: drawn in batches, each a file in the scratch folder as soon as it is finished.

The batches' folder is named after what the images are made of, so nothing of another training or setting is taken for
them; what was finished when a shard was killed is never made again, whatever the number of shards then.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from itertools import chain
from pathlib import Path

from common import images, manifests, provenance, subjects
from common.images import Picture


def draw(
    job: dict,
    items: list[tuple],
    about: Callable[[tuple], dict],
    identity: dict,
    weights: dict[int, Path] | None = None,
) -> None:
    """Write the shard's tar file. `about`: an image's JSON, `prompt` and `seed` in it; `weights` by step."""
    from tqdm import tqdm

    params, sampling = job["params"], job["params"]["sampling"]
    index, count = (int(job["wildcards"][name]) for name in ("shard", "n_shards"))
    content = json.dumps(identity | {"sampling": sampling}, sort_keys=True)
    place = Path(params["finished"]) / hashlib.sha256(content.encode()).hexdigest()[:16]
    for old in place.parent.glob("*"):
        if old != place:
            shutil.rmtree(old, ignore_errors=True)
    batches = subjects.share(subjects.batches(items, sampling["batch_size"]), index, count)
    files = {place / f"{subjects.key(batch[0])}.tar": batch for batch in batches}
    missing = {path: batch for path, batch in files.items() if not path.exists()}
    sampler = load(job) if missing else None
    with tqdm(total=sum(map(len, missing.values())), desc="draw", unit="image", disable=None) as progress:
        for path, batch in missing.items():
            if weights:
                sampler.use(params["method"], weights[batch[0][0]])
            told = [about(item) for item in batch]
            drawn = sampler.draw([one["prompt"] for one in told], [one["seed"] for one in told])
            images.pack(
                path,
                [
                    Picture(subjects.key(item), images.to_png(image), one | {"blocked": blocked})
                    for item, one, (image, blocked) in zip(batch, told, drawn, strict=True)
                ],
            )
            progress.update(len(batch))
    images.pack(job["output"]["shard"], chain.from_iterable(images.unpack(path) for path in files))
    for path in files:
        path.unlink()
    made = sum(map(len, missing.values()))
    print(f"{sum(map(len, batches))} images, {made} of them made now")


def load(job: dict):
    from common import diffusion

    device = provenance.pick_device(job["resources"].get("gpu", 0), job["params"].get("device"))
    return diffusion.Sampler(manifests.folder(job["input"]["model"]), job["params"]["sampling"], device)
