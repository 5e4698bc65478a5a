"""Reading of tensor files: safetensors, and files of torch.save without executing code in them."""

import contextlib
import pickle
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from hra_workflow.core.errors import JobError


def load(path: str | Path, remedy: str = "Delete it and run again.") -> dict:
    """Load the tensors of a .safetensors file by name; raise JobError if it is truncated or corrupted."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError, ValueError, KeyError) as problem:
        raise damaged(path, problem, remedy) from problem


def shapes(path: str | Path, remedy: str = "Delete it and run again.") -> dict[str, tuple[int, ...]]:
    """Read the tensor shapes by name from the header of a .safetensors file; raise JobError as `load` does."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as stream:  # only the header: no torch, which takes seconds to import
            return {name: tuple(stream.get_slice(name).get_shape()) for name in stream.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as problem:
        raise damaged(path, problem, remedy) from problem


def damaged(path: str | Path, problem: Exception, remedy: str) -> JobError:
    if not Path(path).exists():
        return JobError(f"{path}: no such file. Run again.")
    return JobError(f"{path}: expected a .safetensors file, found a truncated or corrupted one ({problem}). {remedy}")


def tensors(path: Path, stand_ins: Sequence[tuple[type, str]] = ()) -> dict:
    """Load a file of torch.save; raise JobError if it contains anything but tensors and plain values.

    `stand_ins`: classes to use instead of the named ones in the file (`module.name`).
    """
    import torch

    try:
        with torch.serialization.safe_globals(list(stand_ins)):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as problem:  # corrupted files make torch raise KeyError, UnicodeDecodeError, BadZipFile, …
        if isinstance(problem, pickle.UnpicklingError) or "weights_only" in str(problem):
            raise JobError(
                f"{path}: expected only tensors, found objects that could execute code ({foreign(path)}); nothing was "
                "loaded. Use a .safetensors file, or a checkpoint of tensors."
            ) from None  # torch's own message advises executing the code
        reason = " ".join(f"{type(problem).__name__} {problem}".split())
        raise JobError(
            f"{path}: expected a file of tensors, found a truncated or corrupted one ({reason}). Download it again."
        ) from problem


def tensors_of(folder: Path, pattern: str) -> dict:
    """Read the only torch.save file in a folder that matches a pattern, with the errors of `one_file` and `tensors`."""
    return tensors(one_file(folder, pattern))


def one_file(folder: Path, pattern: str) -> Path:
    """Find the only file in a folder that matches a pattern; raise JobError if none or several match."""
    found = sorted(folder.rglob(pattern))
    if len(found) != 1:
        raise JobError(f"{folder}: expected one file {pattern}, found {len(found)}. Correct the model's `source`.")
    return found[0]


@contextlib.contextmanager
def named(folder: str | Path) -> Iterator[None]:
    """Turn errors of transformers and diffusers about a model's weights into a JobError that names the file."""
    try:
        yield
    except JobError:
        raise
    except Exception:
        if culprit := next(filter(None, map(problem_of, sorted(Path(folder).rglob("*")))), None):
            raise culprit from None  # torch's own message advises executing the code
        raise


def problem_of(path: Path) -> JobError | None:
    """Return why the tensors of a file cannot be read; None if they can, or if it contains none."""
    try:
        if path.suffix == ".safetensors":
            shapes(path, "Download the model again.")
        elif path.suffix == ".bin":
            tensors(path)
    except JobError as problem:
        return problem
    return None


def foreign(path: Path) -> str:
    """List the functions that a rejected file would have called, without executing it."""
    import torch

    try:
        return ", ".join(torch.serialization.get_unsafe_globals_in_checkpoint(path)) or "not a file of torch.save"
    except Exception:  # a malicious file may crash the disassembler in any way
        return "not a file of torch.save"
