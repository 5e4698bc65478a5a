"""Numbers and lists as people write them."""

from collections.abc import Iterable


def number(value: float) -> str:
    """Write a number with three significant digits: 1,140 instead of 1.14e+03."""
    return f"{float(f'{value:.3g}'):,.9f}".rstrip("0").rstrip(".")


def plural(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"


def of_jobs(count: int) -> str:
    return plural(count, "job")


def listed(names: Iterable[str], most: int = 8) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
