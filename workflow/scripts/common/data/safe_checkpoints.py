"""Files of tensors: safetensors, and torch.save's, which are read without running code from them."""

import contextlib
import pickle
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from common.core.errors import JobError


def load(path: str | Path, remedy: str = "Delete it and run again.") -> dict:
    """The tensors of a .safetensors file by name; JobError if it is truncated or damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError, ValueError, KeyError) as problem:
        raise damaged(path, problem, remedy) from problem


def shapes(path: str | Path, remedy: str = "Delete it and run again.") -> dict[str, tuple[int, ...]]:
    """The shapes in a .safetensors file by name, from its header; JobError as in `load`."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as stream:
            return {name: tuple(stream.get_slice(name).get_shape()) for name in stream.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as problem:
        raise damaged(path, problem, remedy) from problem


def damaged(path: str | Path, problem: Exception, remedy: str) -> JobError:
    if not Path(path).exists():
        return JobError(f"{path}: no such file. Run again.")
    return JobError(f"{path}: not a whole .safetensors file, but truncated or damaged ({problem}). {remedy}")


def tensors(path: Path, stand_ins: Sequence[tuple[type, str]] = ()) -> dict:
    """What torch.save has written; JobError if that is anything but tensors and plain values, which could be code.

    `stand_ins`: classes that take the place of named ones in the file (`module.name`).
    """
    import torch

    try:
        with torch.serialization.safe_globals(list(stand_ins)):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as problem:  # what damage leads torch to: KeyError, UnicodeDecodeError, BadZipFile, …
        if holds_code(problem):
            raise refused(path) from None  # torch advises its reader to run the code
        reason = " ".join(f"{type(problem).__name__} {problem}".split())
        raise JobError(
            f"{path}: refused, not a whole file of tensors ({reason}). Download the file again."
        ) from problem


def tensors_of(folder: Path, pattern: str) -> dict:
    """Read the one file of torch.save in a folder that fits a pattern; JobError as in `one_file` and `tensors`."""
    return tensors(one_file(folder, pattern))


def one_file(folder: Path, pattern: str) -> Path:
    """Find the one file in a folder that fits a pattern; JobError if there is none, or several."""
    found = sorted(folder.rglob(pattern))
    if len(found) != 1:
        raise JobError(f"{folder}: expected one file {pattern}, found {len(found)}. Correct the model's `source`.")
    return found[0]


def holds_code(problem: Exception) -> bool:
    """Whether torch refused a file for what it would run."""
    return isinstance(problem, pickle.UnpicklingError) or "weights_only" in str(problem)


def refused(path: Path) -> JobError:
    return JobError(
        f"{path}: refused and not run, for it is not tensors alone ({foreign(path)}). "
        "Give a .safetensors file, or a checkpoint of tensors."
    )


@contextlib.contextmanager
def named(folder: str | Path) -> Iterator[None]:
    """Give the errors of transformers and diffusers about a model's weights the name of the file, as a JobError."""
    try:
        yield
    except JobError:
        raise
    except Exception:
        if culprit := next(filter(None, map(problem_of, sorted(Path(folder).rglob("*")))), None):
            raise culprit from None  # torch advises its reader to run the code
        raise


def problem_of(path: Path) -> JobError | None:
    """Why the tensors of a file cannot be read; None if they can, or if it holds none."""
    try:
        if path.suffix == ".safetensors":
            shapes(path, "Download the model again.")
        elif path.suffix == ".bin":
            tensors(path)
    except JobError as problem:
        return problem
    return None


def foreign(path: Path) -> str:
    """What a refused file would have called, found without running it."""
    import torch

    try:
        return ", ".join(torch.serialization.get_unsafe_globals_in_checkpoint(path)) or "not a file of torch.save"
    except Exception:  # whatever a hostile file leads the disassembler to
        return "not a file of torch.save"
