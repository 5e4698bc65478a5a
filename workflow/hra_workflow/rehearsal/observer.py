"""What a rehearsal counts: memory on the device, waits of the host for it, operations."""

import gc
import sys
import weakref
from collections import Counter
from pathlib import Path

ALLOCATION = 512  # bytes: torch's allocator rounds up to a multiple
OWN = ("/workflow/scripts/", "/hra_workflow/", "/hra/")
LIBRARIES = ("transformers", "accelerate", "diffusers", "peft")


class Observer:
    """Counts while a job runs. `live`, `peak`: bytes on the device. `steps`: what each optimizer step has shown."""

    def __init__(self, torch):
        from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

        self.torch = torch
        self.live = self.peak = self.step_peak = 0
        self.seen = weakref.WeakKeyDictionary()
        self.waits: Counter = Counter()
        self.operations: Counter = Counter()
        self.flops: Counter = Counter()
        self.traffic = 0
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
        self.seen[storage] = size
        self.live += size
        self.peak = max(self.peak, self.live)
        self.step_peak = max(self.step_peak, self.live)
        weakref.finalize(storage, self.free, size)

    def free(self, size: int) -> None:
        self.live -= size

    def wait(self, what: str) -> None:
        """Count a wait of the host for the device, with the lines that cause it."""
        self.waits[what, lines()] += 1

    def count(self, function, arguments: tuple, keywords: dict, result) -> None:
        """Count an operation on the device: its floating-point operations, or the bytes that it reads and writes."""
        from torch.utils.flop_counter import flop_registry

        schema = function._schema
        if any(value.alias_info is not None and not value.alias_info.is_write for value in schema.returns):
            return  # a view
        self.operations[str(function)] += 1
        flops = flop_registry.get(function.overloadpacket)
        if flops is not None:
            first = next(value for value in arguments if isinstance(value, self.torch.Tensor))
            self.flops[str(first.dtype).removeprefix("torch.")] += flops(*arguments, **keywords, out_val=result)
            return
        results = result if isinstance(result, list | tuple) else [result]
        self.traffic += sum(2 * one.nbytes for one in results if isinstance(one, self.torch.Tensor))

    def before_step(self, optimizer, *_) -> None:
        """Note what the memory consists of when the backward pass has ended."""
        trained = [tensor for group in optimizer.param_groups for tensor in group["params"]]
        models = {id(one): one for one in gc.get_objects() if isinstance(one, self.torch.nn.Parameter) and one.is_cuda}
        self.parts = {
            "weights": sum(tensor.nbytes for tensor in models.values()),
            "gradients": sum(tensor.grad.nbytes for tensor in trained if tensor.grad is not None),
        }

    def after_step(self, optimizer, *_) -> None:
        moments = [one for state in optimizer.state.values() for one in state.values() if hasattr(one, "nbytes")]
        self.parts["optimizer"] = sum(one.nbytes for one in moments if one.is_cuda)
        self.parts["activations"] = max(0, self.step_peak - sum(self.parts.values()))
        self.steps.append(
            {
                "live_bytes": self.live,
                "peak_bytes": self.step_peak,
                "waits": dict(self.waits),
                "operations": self.operations.total(),
                "flops": dict(self.flops),
                "traffic": self.traffic,
            }
        )
        self.step_peak, self.traffic = self.live, 0
        self.waits.clear()
        self.operations.clear()
        self.flops.clear()


def lines() -> str:
    """Return the innermost lines of this repository that are being run, and the library's below them."""
    frame, found = sys._getframe(2), []
    while frame and len(found) < 3:
        name = frame.f_code.co_filename
        own = any(part in name for part in OWN) and "site-packages" not in name and "/rehearsal/" not in name
        if own or (not found and any(f"/{library}/" in name for library in LIBRARIES)):
            found.append(f"{'/'.join(Path(name).parts[-2:])}:{frame.f_lineno}")
        frame = frame.f_back
    return " < ".join(found)
