"""Generation of one shard of images in batches, each written to the scratch folder as soon as it is finished.

A thread encodes and writes a batch while the GPU generates the next one.

The batches' folder is named after a hash of how the images are made (core/made_from.py), so images of other runs or
settings are never reused; batches finished before a shard was killed are never generated again, even with a different
number of shards.
"""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

from PIL.Image import Image

from hra_workflow.core import made_from, manifests, provenance, rates, sharding
from hra_workflow.data import images
from hra_workflow.data.images import Picture

PNG_LEVEL = 1  # a third of the default level's time, for 7 % larger files


def draw(
    job: dict,
    items: list[tuple],
    about: Callable[[tuple], dict],
    head: dict,
    key: Callable[[tuple], str],
    sampler: type,
    weights: dict[int, Path] | None = None,
    hint: Callable[[tuple], Image] | None = None,
) -> None:
    """Write the shard's tar file.

    `items`: tuples whose first entry is a step. `about`: returns an image's JSON with `prompt` and `seed`. `weights`:
    files by step. `head`: the complete record of how the images are made. `key`: returns an image's name in the tar
    file. `hint`: returns its control image. `sampler`: the class that generates images, a `diffusion.sampling.Sampler`.
    """
    from tqdm import tqdm

    params, sampling = job["params"], job["params"]["sampling"]
    index, count = (int(job["wildcards"].get(name, one)) for name, one in (("shard", 0), ("n_shards", 1)))
    place = Path(params["finished"]) / made_from.digest(head)
    for old in place.parent.glob("*"):
        if old != place:
            shutil.rmtree(old, ignore_errors=True)
    batches = sharding.part(sharding.batches(items, sampling["batch_size"]), index, count)
    files = {place / f"{key(batch[0])}.tar": batch for batch in batches}
    missing = {path: batch for path, batch in files.items() if not path.exists()}
    generator = load(job, sampler) if missing else None
    started, written = rates.clock(), None
    bar = tqdm(total=sum(map(len, missing.values())), desc="draw", unit="image", disable=None)
    with bar as progress, ThreadPoolExecutor(1) as writer:
        for path, batch in missing.items():
            if weights:
                generator.use(params["method"], weights[batch[0][0]])
            told = [about(item) for item in batch]
            columns = [[one["prompt"] for one in told], [one["seed"] for one in told]]
            drawn = generator.draw(*columns, *([[hint(item) for item in batch]] if hint else []))
            if written:
                written.result()  # raises the thread's error; at most two batches are in memory
            written = writer.submit(write, path, list(map(key, batch)), told, drawn)
            progress.update(len(batch))
        if written:
            written.result()
    made, seconds = sum(map(len, missing.values())), rates.clock() - started
    if made:
        rates.report(made, seconds, provenance.pick_device(job))
    images.pack(
        job["output"]["shard"],
        chain.from_iterable(images.unpack(path) for path in files),
        sum(map(len, batches)),
        head,
    )
    for path in files:
        path.unlink()
    print(
        f"{sum(map(len, batches))} images, {made} of them generated now"
        + (f", {made / seconds:.3g} per second" * bool(made))
    )


def write(path: Path, keys: list[str], told: list[dict], drawn: list[tuple[Image, bool]]) -> None:
    """Encode and pack one batch."""
    pictures = [
        Picture(name, images.to_png(image, PNG_LEVEL), one | {"blocked": blocked})
        for name, one, (image, blocked) in zip(keys, told, drawn, strict=True)
    ]
    images.pack(path, pictures)


def load(job: dict, sampler: type):
    return sampler(manifests.folder(job["input"]["model"]), job["params"]["sampling"], provenance.pick_device(job))
