"""Work in parts that fit into a GPU's memory."""

from collections.abc import Callable


def halved(work: Callable[[list], list], items: list, what: str) -> list:
    """work(items), a result an item; in halves where the GPU's memory is too small for all at once."""
    import torch

    try:
        return work(items)
    except torch.cuda.OutOfMemoryError:
        if len(items) == 1:
            raise
    # Outside of the handler, whose traceback would keep the tensors alive.
    torch.cuda.empty_cache()
    print(f"out of memory at {len(items)} {what} at once; going on with half of them")
    half = len(items) // 2
    return halved(work, items[:half], what) + halved(work, items[half:], what)
