"""Images that a finished run generates for new inputs: PNG files, and a table that lists them."""

from collections.abc import Callable
from pathlib import Path

from PIL.Image import Image

from hra_workflow.core import files
from hra_workflow.data import images, new_inputs
from hra_workflow.models import image_shards


def draw(
    job: dict,
    record: dict,
    items: list[tuple],
    about: Callable[[tuple], dict],
    sampler: type,
    hint: Callable[[tuple], Image] | None = None,
    hints: dict | None = None,
) -> None:
    """Generate with the weights of params, as image_shards.draw does, at the resolution of the training.

    The first entry of each item is the run's last step, and the others are in its file name. hint: returns an item's
    control image, which is saved next to the generated image. hints: everything that the control images depend on.
    """
    params, trained, table = job["params"], record["made_from"]["settings"], Path(job["output"]["predictions"])
    archive, weights = Path(params["scratch"], "images.tar"), Path(params["weights"])
    sampling = params["settings"]["sampling"] | {"resolution": trained["resolution"]}
    own = {"sampling": sampling, "method": trained["method"], "finished": f"{params['scratch']}/finished"}
    shard = {
        "input": {"model": params["model"]},
        "output": {"shard": str(archive)},
        "params": params | own,
    }
    told = {item: about(item) for item in items}
    head = {"model": record["model"]["sha256"], "weights": files.sha256(weights), "hints": hints}
    head |= {"images": list(told.values()), "sampling": sampling, "method": trained["method"]}
    used = {record["steps"]: weights}
    image_shards.draw(job | shard, items, told.get, head, key, sampler, used, hint)
    with files.replacing_folder(table.parent) as folder:
        made = list(images.unpack(archive))
        for picture in made:
            (folder / f"{picture.key}.png").write_bytes(picture.png)
        columns = {name: [one.about[name] for one in made] for name in (*told[items[0]], "blocked")}
        for item in items if hint else ():
            (folder / f"{key(item)}.control.png").write_bytes(images.to_png(hint(item)))
        if hint:
            columns["control"] = [f"{one.key}.control.png" for one in made]
        new_inputs.write(folder / table.name, {"image": [f"{one.key}.png" for one in made]}, columns)
    archive.unlink()


def key(item: tuple) -> str:
    return "-".join(f"{number:04d}" for number in item[1:])
