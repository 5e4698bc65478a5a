"""Checks of a command's paths, and rights of written files. It imports neither torch nor PEFT, which take seconds."""

import contextlib
import os
import re
import stat
from pathlib import Path

ADAPTER_FILE = "adapter_config.json"  # `peft.utils.CONFIG_NAME`
HUB_NAME = re.compile(r"(\w[\w.-]*/)?\w[\w.-]*")  # without an owner only for old base models, such as gpt2
PIPELINE_FILE = "model_index.json"


def check_adapter(adapter: str) -> None:
    """Raise ValueError if this is neither a folder with an adapter's config nor like a name on the Hugging Face Hub."""
    if Path(adapter).is_dir():
        if not (Path(adapter) / ADAPTER_FILE).is_file():
            raise ValueError(
                f"{adapter}: expected {ADAPTER_FILE} in this folder, found none. Pass the folder that PEFT's "
                "`save_pretrained` wrote."
            )
    elif not ("/" in adapter and HUB_NAME.fullmatch(adapter)):
        raise ValueError(
            f"{adapter}: expected an adapter's folder or its name on the Hugging Face Hub (owner/name), found no "
            f"folder {Path(adapter).resolve()}. Correct the path."
        )


def check_base(path: str, remedy: str) -> None:
    """Raise ValueError, which ends with `remedy` and `--base`, if this is neither a model's folder nor like a name."""
    if (Path(path) / ADAPTER_FILE).is_file():
        raise ValueError(f"base model {path}: expected a model, found an adapter. Correct --base.")
    if not (Path(path).is_dir() or HUB_NAME.fullmatch(path)):
        raise ValueError(
            f"base model {path}: expected a folder or the name of a model on the Hugging Face Hub, found no folder "
            f"{Path(path).resolve()}. {remedy} --base."
        )


def new_folder(out: str) -> Path:
    """Return the path of `out`. Raises ValueError if it is a file or a folder with contents."""
    folder = Path(out)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise ValueError(f"{out}: expected a new or empty folder, found existing files. Choose another folder.")
    return folder


def share(path: str | Path) -> None:
    """Give a file of weights, or all in a folder, the rights that the umask allows.

    safetensors 0.8 creates its files for their owner only, so that others cannot read a shared folder. Other files,
    links, and files that have a second name elsewhere do not change; a file system may refuse without an error.
    """
    os.umask(mask := os.umask(0o077))
    path = Path(path)
    for one in [path] if path.is_file() else path.rglob("*.safetensors"):
        found = one.lstat()
        if stat.S_ISREG(found.st_mode) and stat.S_IMODE(found.st_mode) == 0o600 and found.st_nlink == 1:
            with contextlib.suppress(OSError):
                one.chmod(0o666 & ~mask)
