"""Changes of torch and other libraries for tensors without content: reading, writing, attention, moving.

They are not undone: the process runs one script and ends. A library is changed when the script imports it.
"""

import contextlib
import functools
import os
import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder

from fakegpu import answers


class Imports(MetaPathFinder):
    """Changes modules: those that are imported, and the others as soon as they are."""

    def __init__(self, changes: dict[str, Callable]):
        self.changes = changes
        for name in changes.keys() & sys.modules.keys():
            self.changes.pop(name)(sys.modules[name])
        sys.meta_path.insert(0, self)

    def find_spec(self, name, path=None, target=None):
        if not (change := self.changes.pop(name, None)):
            return None
        found = (other.find_spec(name, path, target) for other in sys.meta_path if hasattr(other, "find_spec"))
        spec = next(filter(None, found))
        execute = spec.loader.exec_module

        def changed(module) -> None:
            execute(module)
            change(module)

        spec.loader.exec_module = changed
        return spec


def prepare(torch, FakeTensor, unset_fake, observer) -> None:
    """Replace the functions that read a tensor's content or address."""
    torch.UntypedStorage.data_ptr = lambda self: self._cdata
    torch._C._set_multithreading_enabled(False)  # run the backward pass in the thread that has the fake mode
    torch.inference_mode = inference_mode(torch)
    content(torch, FakeTensor, unset_fake, observer)
    finite(torch)
    files(torch, FakeTensor, unset_fake, observer)
    attention(torch)
    modules(torch, FakeTensor)
    optimizers()
    processes()
    schedulers = ("dpmsolver_multistep", "euler_discrete", "flow_match_euler_discrete")
    Imports(
        {f"diffusers.schedulers.scheduling_{name}": sampler for name in schedulers}
        | {
            "accelerate.accelerator": accelerator,
            "diffusers.pipelines.stable_diffusion.safety_checker": safety_checker,
            "transformers.models.qwen3_5.modeling_qwen3_5": linear_attention,
            "transformers.generation.utils": functools.partial(answers.sampled_answers, torch, observer),
        }
    )


def inference_mode(torch):
    def replacement(mode=True):
        if callable(mode):
            return torch.no_grad()(mode)
        return torch.no_grad() if mode else contextlib.nullcontext()

    return replacement


def content(torch, FakeTensor, unset_fake, observer) -> None:
    """Make fake tensors on the CPU readable: as the constant if it is known, else as zeros."""
    to_numpy, to_array = torch.Tensor.numpy, torch.Tensor.__array__

    def known(tensor):
        return tensor.constant if tensor.constant is not None else torch.zeros(tensor.shape, dtype=tensor.dtype)

    def numpy(self, *arguments, **keywords):
        if isinstance(self, FakeTensor) and self.is_cuda:
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu()")
        with unset_fake():
            return to_numpy(known(self) if isinstance(self, FakeTensor) else self, *arguments, **keywords)

    def array(self, dtype=None, *_, **__):
        if not isinstance(self, FakeTensor):
            with unset_fake():
                return to_array(self, dtype)
        return numpy(self.detach()) if dtype is None else numpy(self.detach()).astype(dtype)

    def tolist(self):
        if self.is_cuda:
            observer.wait("tolist()")
        with unset_fake():
            return (self.constant if self.constant is not None else torch.ones(self.shape, dtype=self.dtype)).tolist()

    torch.Tensor.numpy = FakeTensor.numpy = numpy
    torch.Tensor.__array__ = array
    FakeTensor.tolist = tolist
    FakeTensor.__deepcopy__ = lambda self, memo: self.clone()


def finite(torch) -> None:
    """Consider fake numbers finite: a script may end if its weights are not."""
    isfinite = torch.isfinite
    torch.isfinite = lambda tensor: torch.ones((), dtype=torch.bool) if tensor.is_cuda else isfinite(tensor)


def files(torch, FakeTensor, unset_fake, observer) -> None:
    """Write zeros instead of fake tensors, and read files as tensors on the CPU."""
    from torch.utils._pytree import tree_map

    def real(value):
        if not isinstance(value, torch.Tensor) or not isinstance(value.data, FakeTensor):
            return value
        if value.is_cuda:
            observer.wait("copy to a file")
        with unset_fake():
            return torch.zeros(value.shape, dtype=value.dtype)

    def outside(function, **fixed):
        @functools.wraps(function)
        def replacement(*arguments, **keywords):
            with unset_fake():
                return function(*arguments, **keywords | fixed)

        return replacement

    save = torch.save

    def save_real(value, *arguments, **keywords):
        value = tree_map(real, value)
        with unset_fake():
            save(value, *arguments, **keywords)

    def save_file_real(tensors, *arguments, **keywords):
        tensors = {name: real(tensor) for name, tensor in tensors.items()}
        with unset_fake():
            save_file({name: tensor.clone() for name, tensor in tensors.items()}, *arguments, **keywords)

    torch.save, torch.load = save_real, outside(torch.load, map_location="cpu")
    with contextlib.suppress(ModuleNotFoundError):
        import safetensors.torch

        save_file = safetensors.torch.save_file
        safetensors.torch.save_file = save_file_real
        safetensors.torch.load_file = outside(safetensors.torch.load_file, device="cpu")
        load_file = safetensors.torch.load_file
        Imports(
            {
                "peft.utils.save_and_load": lambda module: setattr(module, "safe_load_file", load_file),
                "peft.peft_model": lambda module: setattr(module, "safe_save_file", save_file_real),
            }
        )


def attention(torch) -> None:
    """Choose the kernel of scaled_dot_product_attention by dtype and mask, as torch does on a GPU."""
    functional, aten = torch.nn.functional, torch.ops.aten
    on_cpu = functional.scaled_dot_product_attention

    def on_device(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):
        if not query.is_cuda:
            return on_cpu(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)
        if enable_gqa and key.shape[1] != query.shape[1]:
            repeats = query.shape[1] // key.shape[1]
            key, value = key.repeat_interleave(repeats, 1), value.repeat_interleave(repeats, 1)
        if torch.is_autocast_enabled("cuda"):
            dtype = torch.get_autocast_dtype("cuda")
            query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
            if attn_mask is not None and attn_mask.is_floating_point():
                attn_mask = attn_mask.to(dtype)
        devices = {str(tensor.device) for tensor in (query, key, value, attn_mask) if tensor is not None}
        if len(devices) > 1:
            raise RuntimeError(f"scaled_dot_product_attention with tensors on {', '.join(sorted(devices))}")
        if not query.dtype == key.dtype == value.dtype:
            raise RuntimeError(f"scaled_dot_product_attention with {query.dtype}, {key.dtype} and {value.dtype}")
        half = query.dtype in (torch.float16, torch.bfloat16)
        if attn_mask is None and half and query.shape[-1] <= 256:
            flash = aten._scaled_dot_product_flash_attention
            return flash(query, key, value, dropout_p, is_causal, False, scale=scale)[0]
        if attn_mask is not None:
            if attn_mask.dtype == torch.bool:
                zeros = torch.zeros_like(attn_mask, dtype=query.dtype)
                attn_mask = zeros.masked_fill(attn_mask.logical_not(), float("-inf"))
            attn_mask = attn_mask.expand(*query.shape[:2], query.shape[-2], key.shape[-2])
        grad = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (query, key, value))
        efficient = aten._scaled_dot_product_efficient_attention
        return efficient(query, key, value, attn_mask, grad, dropout_p, is_causal, scale=scale)[0]

    functional.scaled_dot_product_attention = on_device


def modules(torch, FakeTensor) -> None:
    """Move modules by new parameters, since torch would write fake content to the old ones; keep tied ones tied."""
    nn = torch.nn

    def apply(self, function, recurse=True):
        for child in self.children() if recurse else ():
            child._apply(function)
        for name, parameter in self._parameters.items():
            if parameter is None:
                continue
            with torch.no_grad():
                new = function(parameter)
            unchanged = new.device == parameter.device and new.dtype == parameter.dtype
            if new is parameter or (unchanged and isinstance(parameter.data, FakeTensor)):
                continue
            moved = getattr(parameter, "_moved", None)
            self._parameters[name] = nn.Parameter(new, parameter.requires_grad) if moved is None else moved
            parameter._moved = self._parameters[name]
            if parameter.grad is not None:
                self._parameters[name].grad = function(parameter.grad)
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = function(buffer)
        return self

    nn.Module._apply = apply


def optimizers() -> None:
    """Make AdamW update several parameters per kernel, as on a GPU: torch checks the exact type of a tensor."""
    from torch.optim import Adam

    def choose(params, differentiable, use_fused=False):
        return use_fused, not use_fused

    sys.modules[Adam.__module__]._default_to_fused_or_foreach = choose


def processes() -> None:
    """Make every process group and its models work as in a single process, without communication."""
    import torch.distributed
    from torch import nn

    init = torch.distributed.init_process_group

    def init_fake(*_, **__):
        from torch.testing._internal.distributed.fake_pg import FakeStore

        init("fake", store=FakeStore(), rank=0, world_size=int(os.environ["WORLD_SIZE"]))

    class Alone(nn.Module):
        def __init__(self, module, **_):
            super().__init__()
            self.module = module

        def forward(self, *arguments, **keywords):
            return self.module(*arguments, **keywords)

        def no_sync(self):
            return contextlib.nullcontext()

    torch.distributed.init_process_group = init_fake
    torch.distributed.broadcast_object_list = lambda *_, **__: None
    nn.parallel.DistributedDataParallel = Alone


def accelerator(module) -> None:
    module.Accelerator.pad_across_processes = lambda self, tensor, *_, **__: tensor


def safety_checker(module) -> None:
    """Let diffusers' check of an image's content pass."""
    forward = module.StableDiffusionSafetyChecker.forward

    def passing(self, clip_input, images):
        return forward(self, clip_input, images)[0], [False] * len(images)

    module.StableDiffusionSafetyChecker.forward = passing


def sampler(module) -> None:
    """Replace the function of diffusers' schedulers that needs values to find a time step."""
    for name in ("DPMSolverMultistepScheduler", "EulerDiscreteScheduler", "FlowMatchEulerDiscreteScheduler"):
        if hasattr(module, name):
            getattr(module, name).index_for_timestep = lambda self, *_, **__: 0


def linear_attention(module) -> None:
    """Count the gated delta rule as one product, as a fused kernel: transformers' own code loops over tokens."""

    def fused(query, key, value, g, beta, initial_state=None, output_final_state=False, **_):
        made = value * (query.mean() + key.mean() + g.mean() + beta.mean())
        if initial_state is None and output_final_state:
            initial_state = value.new_zeros(value.shape[0], value.shape[2], key.shape[3], value.shape[3])
        return made, initial_state if output_final_state else None

    module.torch_chunk_gated_delta_rule = module.torch_recurrent_gated_delta_rule = fused
