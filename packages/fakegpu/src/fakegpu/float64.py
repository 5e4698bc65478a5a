"""Operations in float64 on the device, which most cards compute at 1/64 of float32's speed."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from torch.utils._pytree import tree_leaves

from fakegpu import lines


class Float64:
    """Counts the operations by name and lines, except those of `intended` folders and their backward passes."""

    def __init__(self, torch, intended: Iterable[str] = ()):
        self.torch, self.dtypes = torch, (torch.float64, torch.complex128)
        self.folders = tuple(f"{Path(folder)}/" for folder in intended)
        self.counted: Counter = Counter()
        self.forward: dict[int, lines.Places] = {}  # number of an autograd node → the lines of its forward operation

    def note(self, function, is_view: bool, *values) -> None:
        """Count an operation if one of its arguments or results is float64, and it is not a view.

        An operation in a backward pass has the lines of its forward operation, which may be a view.
        """
        if not any(
            isinstance(one, self.torch.Tensor) and one.is_cuda and one.dtype in self.dtypes
            for one in tree_leaves(values)
        ):
            return
        places, node = lines.running(), self.torch._C._current_autograd_node()
        if node is None or self.torch.is_grad_enabled():  # also if it is recomputed in a backward pass
            self.forward[self.torch._C._autograd._get_sequence_nr() - 1] = places
        elif not self.intended(places):
            places = self.forward.get(node._sequence_nr(), places)
        if not is_view and not self.intended(places):
            self.counted[function.overloadpacket.__name__, lines.shown(places)] += 1

    def intended(self, places: lines.Places) -> bool:
        own = (file for file, _ in places if lines.is_own(file))
        return next(own, "").startswith(self.folders)
