"""Features of the real images of a dataset, computed once for all its runs."""

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path

from common.core import files


def tensor(path: Path | None, compute: Callable):
    """Return the tensor that `compute` returns, read from the file `path` if an earlier job has kept it there intact.

    path: a .safetensors file, see Reference.kept; None: nothing is kept.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import save_file

    if path is None:
        return compute()
    with contextlib.suppress(OSError, SafetensorError), safe_open(path, "pt") as stream:
        found = stream.get_tensor("features")
        if digest(found) == stream.metadata()["sha256"]:
            print(f"features of the real images are those in {path}")
            return found
    found = compute().cpu().contiguous()
    with contextlib.suppress(OSError), files.replacing(path) as temporary:  # without it, only time is lost
        save_file({"features": found}, temporary, metadata={"sha256": digest(found)})
    return found


def digest(found) -> str:
    return hashlib.sha256(found.numpy()).hexdigest()
