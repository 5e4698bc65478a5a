"""Numbers and lists formatted for readers."""

import difflib
from collections.abc import Iterable

HOUR = 3600
ALIKE = 0.75  # of two names: `loar` and `lora`, but not `politics` and `positive`


def number(value: float) -> str:
    """Write a number with three significant digits: 1,140 instead of 1.14e+03."""
    return f"{float(f'{value:.3g}'):,.9f}".rstrip("0").rstrip(".")


def hours_of(value: float, device: str = "") -> str:
    """Write hours, less than a tenth as minutes or seconds: 1,140 GPU-hours or 2.8 CPU-minutes, or 35 seconds."""
    unit = "hours"
    if 0 < value < 0.1:
        value, unit = (value * 60, "minutes") if value >= 1 / 60 else (value * HOUR, "seconds")
        value = float(f"{value:.2g}")
    return f"{number(value)} {device}{'-' * bool(device)}{unit}"


def plural(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"


def listed(names: Iterable[str], most: int = 8) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def meant(found: str, names: Iterable[str]) -> str:
    """Return a question after the name that a misspelt one stands for, if one is similar, regardless of case."""
    known = {name.casefold(): name for name in names}
    nearest = difflib.get_close_matches(found.casefold(), known, 1, ALIKE)
    return f" (is it {known[nearest[0]]!r}?)" if nearest else ""
