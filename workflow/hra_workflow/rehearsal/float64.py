"""Operations in float64 on the device, which most cards compute at 1/64 of float32's speed.

`hra` computes the factors of its chain in float64, on purpose; whatever else does so is a mistake.
"""

from collections import Counter

from torch.utils._pytree import tree_leaves

from hra_workflow.rehearsal import lines


class Float64:
    """Counts them by name and lines, apart from those of `hra`, its backward passes included."""

    def __init__(self, torch):
        self.torch, self.dtypes = torch, (torch.float64, torch.complex128)
        self.counted: Counter = Counter()
        self.forward: dict[int, lines.Places] = {}  # number of an autograd node → where its forward operation is

    def note(self, function, is_view: bool, *values) -> None:
        """Count an operation if one of its arguments or results is float64, and it is no view.

        One in a backward pass has the lines of its forward operation, which may be a view.
        """
        if not any(
            isinstance(one, self.torch.Tensor) and one.is_cuda and one.dtype in self.dtypes
            for one in tree_leaves(values)
        ):
            return
        places, node = lines.running(), self.torch._C._current_autograd_node()
        if node is None or self.torch.is_grad_enabled():  # also what is recomputed in a backward pass
            self.forward[self.torch._C._autograd._get_sequence_nr() - 1] = places
        elif not self.intended(places):
            places = self.forward.get(node._sequence_nr(), places)
        if not is_view and not self.intended(places):
            self.counted[function.overloadpacket.__name__, lines.shown(places)] += 1

    def intended(self, places: lines.Places) -> bool:
        own = (file for file, _ in places if lines.is_own(file))
        return next(own, "").startswith(lines.layers())
