"""Warnings, each once per process: untested versions, and PEFT's own layers where this package's are expected."""

import re
import sys
import warnings
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from typing import Any

from peft.tuners.hra.layer import HRALayer

from .base_layer import HRALayer as OurLayer

# The first and the last minor version that the tests run with; LLaMA-Factory has the first of transformers and TRL.
TESTED = {
    "torch": ("2.9", "2.15"),
    "peft": ("0.18", "0.21"),
    "transformers": ("5.6", "5.24"),
    "accelerate": ("1.10", "1.15"),
    "diffusers": ("0.42", "0.42"),
    "trl": ("0.24", "1.16"),
}


def check_versions() -> None:
    """Warn if an installed version is outside the tested range."""
    untested = []
    for name, (first, last) in TESTED.items():
        try:
            imported = getattr(sys.modules.get(name), "__version__", None)
            found = str(imported or metadata.version(name))  # which reads a file
        except metadata.PackageNotFoundError:
            continue
        if not _minor(first) <= _minor(found) <= _minor(last):
            untested.append(f"{name} {found} (tested: {first}{f' to {last}' if last != first else ''})")
    if untested:
        _warn(f"hra is not tested with {', '.join(untested)}. Install a tested version if something fails.")


def check_layers(named_modules: Iterable[tuple[str, Any]]) -> None:
    """Warn if some of a model's modules are PEFT's own HRA layers."""
    stock = [path for path, one in named_modules if isinstance(one, HRALayer) and not isinstance(one, OurLayer)]
    if stock:
        more = f" and {len(stock) - 1} more" if len(stock) > 1 else ""
        _warn(
            f"hra: expected this package's layers, found PEFT's own, slower ones in {stock[0]}{more}. Call "
            "`hra.install()` before `get_peft_model`."
        )


def _minor(version: str) -> list[int]:
    """Parse major and minor version: of 2.13.0+cpu 2 and 13, of 0.21.3.dev0 0 and 21."""
    return [int(number) for number in re.findall(r"\d+", version)[:2]]


@cache
def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=4)
