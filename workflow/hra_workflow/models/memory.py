"""Free memory, and the splitting of batches that do not fit into the GPU's memory.

The splitting is custom code, because accelerate's find_executable_batch_size restarts the entire batch at 0.9 of its
size, prints nothing, and ends with its own error instead of the GPU's.
"""

from collections.abc import Callable


def split_on_oom(work: Callable[[list], list], items: list, what: str) -> list:
    """Return work(items), one result per item; the batch is halved if it does not fit into the GPU's memory."""
    import torch

    try:
        return work(items)
    except torch.cuda.OutOfMemoryError:
        if len(items) == 1:
            raise
    # Outside of the handler, whose traceback would keep the tensors alive.
    torch.cuda.empty_cache()
    print(f"out of memory with a batch of {len(items)} {what}; continuing with half of it")
    half = len(items) // 2
    return split_on_oom(work, items[:half], what) + split_on_oom(work, items[half:], what)


def free_bytes(device: str) -> int:
    """Return the memory that torch can still allocate on the GPU, or that is available on this machine."""
    if device == "cuda":
        import torch

        unused = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        return torch.cuda.mem_get_info()[0] + unused
    import psutil

    return psutil.virtual_memory().available
