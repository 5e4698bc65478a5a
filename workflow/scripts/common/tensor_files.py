"""Files of torch.save, read without running code from them."""

import pickle
import zipfile
from collections.abc import Sequence
from pathlib import Path

from common.job import JobError


def tensors(path: Path, stand_ins: Sequence[tuple[type, str]] = ()) -> dict:
    """What torch.save has written; JobError if that is anything but tensors and plain values, which could be code.

    `stand_ins`: classes that take the place of named ones in the file (`module.name`).
    """
    import torch

    try:
        with torch.serialization.safe_globals(list(stand_ins)):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as problem:
        raise JobError(
            f"{path}: refused and not run, for it is not tensors alone ({foreign(path)}). "
            "Give a .safetensors file, or a checkpoint of tensors."
        ) from problem
    except (OSError, RuntimeError, EOFError) as problem:
        reason = " ".join(str(problem).split())
        raise JobError(f"{path}: refused, not a whole file of tensors ({reason}). Bring the file again.") from problem


def foreign(path: Path) -> str:
    """What a refused file would have called, found without running it."""
    import torch

    try:
        return ", ".join(torch.serialization.get_unsafe_globals_in_checkpoint(path)) or "not a file of torch.save"
    except Exception:  # whatever a hostile file leads the disassembler to
        return "not a file of torch.save"
