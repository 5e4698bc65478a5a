"""The colour of a method, the same in every figure and in the report."""

from itertools import cycle

from hra_workflow import methods
from hra_workflow.core import grid

# From Paul Tol's muted palette, for colour-blind readers too, as that of Okabe and Ito in methods/__init__.py.
SPARE = ("#332288", "#882255", "#999933", "#117733", "#AA4499", "#661100", "#44AA99", "#DDCC77")


def of_methods(config: dict) -> dict[str, str]:
    """Return the colour of every method of the grids.

    The first method of a kind has the kind's colour; other methods get the spare colours in config order.
    """
    used = {name.split("/")[0] for task in config["tasks"] for name in grid.run_names(config, task)}
    own = {name: methods.get(config, name).colour for name in config["methods"]}
    first = {colour: name for name, colour in reversed(own.items())}
    spare = cycle(SPARE)
    return {
        name: colour if colour and first[colour] == name else next(spare)
        for name, colour in own.items()
        if name in used
    }
