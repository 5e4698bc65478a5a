"""Checks of a command's paths, and rights of written files. It imports neither torch nor PEFT, which take seconds."""

import contextlib
import os
import re
import stat
from pathlib import Path

ADAPTER_FILE = "adapter_config.json"  # `peft.utils.CONFIG_NAME`
HUB_NAME = re.compile(r"(\w[\w.-]*/)?\w[\w.-]*")  # without an owner only for old base models, such as gpt2
PIPELINE_FILE = "model_index.json"


def missing(path: str, files: tuple[str, ...], revision: str | None = None) -> str | None:
    """Return why a path is neither a folder nor the name of a model in the Hub's cache or on the Hub; None: it is.

    It sends one request, because downloads repeat theirs for half a minute if the Hub cannot be reached.
    """
    if Path(path).is_dir():
        return None
    reason = f"no folder {Path(path).resolve()}"
    if not HUB_NAME.fullmatch(path):
        return reason
    from huggingface_hub import model_info, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    if any(isinstance(try_to_load_from_cache(path, name, revision=revision), str) for name in files):
        return None
    try:
        model_info(path, revision=revision, timeout=10)
    except RepositoryNotFoundError:
        return f"{reason}, and on the Hub no such model, or a private one"
    except (HfHubHTTPError, OSError) as error:  # also of HF_HUB_OFFLINE
        return f"{reason}, and on the Hub: {str(error).partition(chr(10))[0].rstrip('.')}"
    except Exception as error:  # of httpx, httpx2 or requests, as huggingface_hub's version uses
        return f"{reason}, and no connection to the Hub ({error})"
    return None


def check_adapter(adapter: str) -> None:
    """Raise ValueError if this is neither a folder with an adapter's config nor a name on the Hugging Face Hub."""
    if Path(adapter).is_dir():
        if not (Path(adapter) / ADAPTER_FILE).is_file():
            raise ValueError(
                f"{adapter}: expected {ADAPTER_FILE} in this folder, found none. Pass the folder that PEFT's "
                "`save_pretrained` wrote."
            )
    elif found := missing(adapter, (ADAPTER_FILE,)) if "/" in adapter else f"no folder {Path(adapter).resolve()}":
        raise ValueError(
            f"{adapter}: expected an adapter's folder or its name on the Hugging Face Hub (owner/name), found {found}. "
            "Correct the path."
        )


def check_base(path: str, revision: str | None, remedy: str) -> None:
    """Raise ValueError, which ends with `remedy` and `--base`, if this is not a model's folder or name on the Hub."""
    if (Path(path) / ADAPTER_FILE).is_file():
        raise ValueError(f"base model {path}: expected a model, found an adapter. Correct --base.")
    if found := missing(path, ("config.json", PIPELINE_FILE), revision):
        raise ValueError(
            f"base model {path}: expected a folder or the name of a model on the Hugging Face Hub, found {found}. "
            f"{remedy} --base."
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
