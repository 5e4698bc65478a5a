"""Counts of a run: memory on the device, waits of the host for it, operations."""

import gc
import weakref
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from fakegpu import lines
from fakegpu.float64 import Float64
from fakegpu.timing import Cache, Clock, Speed

ALLOCATION = 512  # bytes: torch's allocator rounds up to a multiple
WITHOUT_KERNEL = ("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_unsafe_view")
GATHERING = ("embedding", "index", "index_select", "gather")  # operations that read as much as they write
PASSES = 3  # passes of a Fourier transform over its data


class Made(NamedTuple):
    """The lines and the step in which a tensor's storage was made."""

    size: int
    step: int
    places: lines.Places


class Observer:
    """Counts while a job runs.

    float64: folders whose operations in float64 are intended.
    `live`, `peak`: bytes on the device. `started`: number of kernels. `steps`: the counts of each optimizer step.
    """

    def __init__(self, torch, speed: Speed, float64: Iterable[str] = ()):
        from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

        self.torch, self.clock, self.cache = torch, Clock(speed), Cache(speed.cache_bytes)
        self.live = self.peak = self.step_peak = self.started = 0
        self.seen = weakref.WeakKeyDictionary()
        self.waits: Counter = Counter()
        self.kernels: Counter = Counter()  # by kind, operations and bytes (Clock.run)
        self.flops: Counter = Counter()
        self.float64 = Float64(torch, float64)
        self.before = (0.0, 0.0)  # the clock's time and work at the end of the last step
        self.steps: list[dict] = []
        self.parts: dict[str, int] = {}
        register_optimizer_step_pre_hook(self.before_step)
        register_optimizer_step_post_hook(self.after_step)

    def add(self, tensor) -> None:
        """Count the storage of a new tensor on the device until it is freed."""
        storage = tensor.untyped_storage()
        if storage in self.seen:
            return
        size = -(-storage.nbytes() // ALLOCATION) * ALLOCATION
        self.seen[storage] = Made(size, len(self.steps), lines.running())
        self.live += size
        self.peak = max(self.peak, self.live)
        self.step_peak = max(self.step_peak, self.live)
        weakref.finalize(storage, self.free, size, storage._cdata)

    def free(self, size: int, storage: int) -> None:
        self.live -= size
        self.cache.drop(storage)

    def wait(self, what: str) -> None:
        """Count a wait of the host for the device, with the lines that cause it."""
        self.clock.wait()
        self.waits[what, lines.shown(lines.running())] += 1

    def count(self, function, arguments: tuple, keywords: dict, result) -> None:
        """Count an operation on the device: its floating-point operations, and the bytes that it reads and writes."""
        from torch.utils._pytree import tree_leaves
        from torch.utils.flop_counter import flop_registry

        schema, name = function._schema, function.overloadpacket.__name__
        is_view = name in WITHOUT_KERNEL or any(
            value.alias_info and not value.alias_info.is_write for value in schema.returns
        )
        self.float64.note(function, is_view, arguments, keywords, result)
        if is_view:
            return
        read, written = (
            [value for value in tree_leaves(values) if isinstance(value, self.torch.Tensor)]
            for values in ((arguments, keywords), arguments[0] if result is None else result)
        )
        flops, kind = 0, "float32"
        if counted := flop_registry.get(function.overloadpacket):
            factor = read[name == "addmm"]  # its first tensor is the sum, which may have another dtype
            given = [one for one in arguments if not isinstance(one, self.torch.dtype)]  # a dtype is the sum's
            flops, kind = counted(*given, **keywords, out_val=result), self.kind(name, factor.dtype)
            self.flops[kind] += flops
        used = [*bytes_of(written if name in GATHERING else read, False), *bytes_of(written, True)]
        passes = PASSES if name.startswith("_fft") else 1
        moved, total = passes * self.cache.move(used), passes * sum(size for _, size, _ in used)
        self.started += 1
        self.kernels[kind, flops, moved, total] += 1
        self.clock.run(kind, flops, moved, total)

    def kind(self, name: str, dtype) -> str:
        """Return the precision with which a product or convolution computes, a key of timing.EFFICIENCY."""
        convolution = " convolution" if name.startswith("convolution") else ""
        if dtype in (self.torch.float16, self.torch.bfloat16):
            return f"half{convolution}"
        if dtype == self.torch.float64:
            return "float64"
        if convolution:
            return "tf32 convolution" if self.torch.backends.cudnn.allow_tf32 else "float32"
        return "float32" if self.torch.get_float32_matmul_precision() == "highest" else "tf32"

    def before_step(self, optimizer, *_) -> None:
        """Record the parts of the memory when the backward pass has ended."""
        trained = [tensor for group in optimizer.param_groups for tensor in group["params"]]
        tensors = (one for one in gc.get_objects() if isinstance(one, self.torch.Tensor))  # quicker than by Parameter
        models = {id(one): one for one in tensors if isinstance(one, self.torch.nn.Parameter) and one.is_cuda}
        self.parts = {
            "weights": sum(tensor.nbytes for tensor in models.values()),
            "gradients": sum(tensor.grad.nbytes for tensor in trained if tensor.grad is not None),
        }

    def after_step(self, optimizer, *_) -> None:
        moments = [one for state in optimizer.state.values() for one in state.values() if hasattr(one, "nbytes")]
        self.parts["optimizer"] = sum(one.nbytes for one in moments if one.is_cuda)
        self.parts["activations"] = max(0, self.step_peak - sum(self.parts.values()))
        now = self.clock(), self.clock.busy
        seconds, busy = (after - before for after, before in zip(now, self.before, strict=True))
        self.steps.append(
            {
                "seconds": seconds,
                "busy_seconds": busy,
                "live_bytes": self.live,
                "peak_bytes": self.step_peak,
                "kept": self.kept(),
                "waits": dict(self.waits),
                "operations": self.kernels.total(),
                "flops": dict(self.flops),
                "kernels": dict(self.kernels),
            }
        )
        self.step_peak, self.before = self.live, now
        self.waits.clear()
        self.kernels.clear()
        self.flops.clear()

    def kept(self) -> dict[str, int]:
        """Return the lines that have left tensors in every earlier step, with the bytes of the last of these.

        They exclude tensors that only one step leaves, such as the optimizer's moments, or that the next step replaces.
        """
        before = len(self.steps)
        left: dict[lines.Places, Counter] = defaultdict(Counter)
        for made in [*self.seen.values()] if before > 1 else ():
            if made.step < before:
                left[made.places][made.step] += made.size
        return {lines.shown(places): sizes[before - 1] for places, sizes in left.items() if len(sizes) == before}


def bytes_of(tensors: list, written: bool) -> Iterator[tuple[int, int, bool]]:
    """Yield, for each tensor of a kernel, the address of the storage, the bytes, and whether it writes them."""
    for tensor in tensors:
        storage = tensor.untyped_storage()
        yield storage._cdata, min(tensor.nbytes, storage.nbytes()), written  # for an expanded tensor, the storage
