"""The columns of a table: their units, which differences, figures and power have too, and the datasets in them."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Unit:
    """The unit of a column: the factor applied to its scores, whether lower values are better, and its decimals."""

    scale: float
    lower: bool
    decimals: int | None = None

    @property
    def percent(self) -> bool:
        return self.scale == 100

    @property
    def digits(self) -> int:
        """Return the number of decimals, the same for every value of a column."""
        return (2 if self.percent else 3) if self.decimals is None else self.decimals

    @property
    def better(self) -> str:
        return "lower" if self.lower else "higher"

    @property
    def arrow(self) -> str:
        return "↓" if self.lower else "↑"

    def axis(self, name: str) -> tuple[str, str]:
        """Return the name and the better direction of an axis with the scores of a column."""
        return f"{name}, %" if self.percent else name, self.better


def units(params: dict) -> dict[str, Unit]:
    """Return the units of a table's `columns`, then of its `averages`; `scale`: that of columns without one.

    An average has the scale and the direction of its columns, which the check of the config requires to be equal.
    """
    scale, averages = params.get("scale", 100), params.get("averages", {})
    found = {
        column["name"]: Unit(column.get("scale", scale), column.get("better") == "lower", column.get("digits"))
        for column in params["columns"]
    }
    of_averages = {name: replace(found[members[0]], decimals=None) for name, members in averages.items()}
    return found | of_averages


def parts(params: dict) -> dict[str, list[dict]]:
    """Return what a table's `columns` and `averages` are means of: columns of one dataset, each with its `scale`."""
    found, scale = {}, params.get("scale", 100)
    for column in params["columns"]:
        one = {"scale": scale} | column
        several = [one | {"name": f"{one['name']}: {name}", "dataset": name} for name in one.get("datasets", [])]
        found[one["name"]] = several or [one]
    averages = params.get("averages", {}).items()
    return found | {name: [part for member in members for part in found[member]] for name, members in averages}


def single(params: dict) -> list[dict]:
    """List the different columns of one dataset in `parts`."""
    return list({part["name"]: part for several in parts(params).values() for part in several}.values())
