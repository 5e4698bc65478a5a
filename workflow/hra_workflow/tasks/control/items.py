"""Order and names of the images that a run generates from control images.

An image is (step, row): the weights after `step`, the row of the control image in the evaluated split.
"""

BENCHMARK = "validation"  # the split of a dataset that runs are evaluated on


def items(step: int, rows: int) -> list[tuple[int, int]]:
    """List the images of a run, in the order of the merged tar file."""
    return [(step, row) for row in range(rows)]


def key(item: tuple[int, int]) -> str:
    """Return the name of an image in its tar file, without a dot."""
    return f"row{item[1]:06d}"
