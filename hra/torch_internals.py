"""The private names of PyTorch that this package cannot do without, each with the public way that would end its use."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch.autograd import forward_ad
from torch.utils._python_dispatch import _get_current_dispatch_mode, _pop_mode_temporarily
from torch.utils.checkpoint import create_selective_checkpoint_contexts


def is_transformed() -> bool:
    """Return whether `torch.func`, forward-mode AD or `torch.jit.trace` needs plain formulas and no earlier values.

    `_are_functorch_transforms_active` and `_current_level` would end with a `setup_context`, a rule for `vmap` and a
    `jvp` of each autograd function of this package. PyTorch has no public question for either.
    """
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined] # documented
    return torch._C._are_functorch_transforms_active() or tracing or forward_ad._current_level >= 0


def version(tensor: torch.Tensor) -> int:
    """Return how often PyTorch has changed a tensor in place, which `torch.autograd.graph.increment_version` counts.

    `_version` would end with `ctx.save_for_backward`, if it kept tensors for a second backward pass through a function
    of which the first has used another part.
    """
    return tensor._version


# The modes of selective checkpointing, which numbers the operations of a block and looks them up in its second run.
_SELECTIVE = tuple(type(mode) for mode in create_selective_checkpoint_contexts([]))


@contextmanager
def unseen_by_checkpoints() -> Iterator[None]:
    """Hide operations and saved tensors from checkpointing, which counts them: both runs of a block need the same.

    `_get_current_dispatch_mode` and `_pop_mode_temporarily` would end with a public way to leave operations out, or
    to ask whether a block is checkpointed (https://github.com/pytorch/pytorch/issues/144928).
    """
    if torch._C._are_functorch_transforms_active():  # these forbid hooks, and checkpointing with them
        yield
        return
    with ExitStack() as stack:
        while isinstance(_get_current_dispatch_mode(), _SELECTIVE):
            stack.enter_context(_pop_mode_temporarily())
        # Detached: a saved output of a function that refers to the function would be a cycle, which is never freed.
        stack.enter_context(torch.autograd.graph.saved_tensors_hooks(torch.Tensor.detach, torch.Tensor.detach))
        yield
