"""The PEFT tuner that inserts HRA layers into a model, and the functions that install it instead of PEFT's own."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import peft
import peft.tuners.hra
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING
from peft.tuners.hra.layer import HRALayer as PeftHRALayer
from peft.tuners.hra.model import HRAModel as PeftHRAModel
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import PeftType
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import nn

from . import bank, checks
from .base_layer import HRALayer
from .config import EXTENDED, HRAConfig
from .layers import Conv2d, Linear
from .quantized import keep_differentiable


class HRAModel(PeftHRAModel):
    """PEFT's HRAModel with this package's layers."""

    tuner_layer_cls: type[PeftHRALayer] = HRALayer

    def _create_and_replace(  # type: ignore[override] # PEFT's own base classes disagree on the first name
        self,
        hra_config: Any,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        **kwargs: Any,
    ) -> None:
        if isinstance(target, HRALayer):
            target.update_layer(adapter_name, hra_config.r, hra_config)
            return
        if isinstance(parent, nn.MultiheadAttention):
            raise ValueError(
                f"HRA cannot adapt {current_key}: nn.MultiheadAttention reads the weight of its "
                f"{target_name} without calling the layer, so the adapter would have no effect. "
                "Exclude it with `exclude_modules`."
            )
        base = target.get_base_layer() if isinstance(target, BaseTunerLayer) else target
        weight = getattr(base, "weight", None)
        if callable(weight):
            raise TypeError(
                f"HRA cannot adapt {current_key}: expected a layer that passes gradients to its input, found "
                f"{type(base).__module__}.{type(base).__name__}, which torch.ao.quantization has packed. Load the base "
                "model without that quantisation, or quantised by bitsandbytes or torchao; quantise after "
                "`merge_and_unload`."
            )
        if any(placement.is_shard(1) for placement in getattr(weight, "placements", ())):
            raise ValueError(
                f"HRA cannot adapt {current_key}: tensor parallelism splits its input over processes, and H mixes all "
                f"of it. Exclude it with `exclude_modules`, here {target_name!r}; layers that are split by their "
                "output can be adapted."
            )
        if isinstance(parent, nn.TransformerEncoderLayer):
            # The fast path in eval mode also reads the weights without calling the layers; this disables it.
            parent.activation_relu_or_gelu = 0
        module = self._create_new_module(hra_config, adapter_name, target, r=hra_config.r)
        module.path = current_key
        if adapter_name not in self.active_adapters:
            module.requires_grad_(False)
        self._replace_module(parent, target_name, module, target)

    @staticmethod
    def _create_new_module(hra_config: Any, adapter_name: str, target: nn.Module, **kwargs: Any) -> HRALayer:
        base: Any = target.get_base_layer() if isinstance(target, BaseTunerLayer) else target
        if isinstance(base, nn.Conv2d):
            return Conv2d(target, adapter_name, hra_config, **kwargs)
        # Quantised layers need not subclass nn.Linear, but are named after it; they are called as black boxes.
        if "Linear" in type(base).__name__ and hasattr(base, "in_features"):
            return Linear(target, adapter_name, hra_config, **kwargs)
        raise TypeError(
            f"Target module {target} is not supported. "
            "Currently, only `torch.nn.Linear` and `torch.nn.Conv2d` are supported."
        )

    def _prepare_model(self, peft_config: Any, model: nn.Module) -> None:
        checks.check_options(peft_config)
        bias = peft_config.bias
        if not (bias == "none" or peft_config.inference_mode or checks.saves_biases(bias)):
            raise ValueError(
                f"HRA with bias={bias!r}: expected a PEFT that writes trained biases to adapter files, found "
                f"{peft.__version__}, which does not. Install PEFT 0.21 or newer, or set bias='none'."
            )
        super()._prepare_model(peft_config, model)
        bank.attach(model)
        if not peft_config.inference_mode:
            keep_differentiable(model)
            checks.warn_if_left_out(peft_config, model)

    def _replace_module(self, parent: nn.Module, child_name: str, new_module: Any, child: nn.Module) -> None:
        if isinstance(new_module, HRALayer):
            super()._replace_module(parent, child_name, new_module, child)
        else:  # unloading; PEFT's own assigns `weight`, which neither every quantised layer nor every classifier has
            setattr(parent, child_name, new_module)

    def _unload_and_optionally_merge(self, *args: Any, **kwargs: Any) -> Any:
        model: Any = super()._unload_and_optionally_merge(*args, **kwargs)
        bank.detach(model)
        return model

    def _check_merge_allowed(self) -> None:
        """Raise a TypeError or ValueError with the layer's name before any layer is merged."""
        super()._check_merge_allowed()
        users = defaultdict(list)  # paths in the model of every module and parameter
        for name, module in self.model.named_modules():
            for key, part in (*module.named_children(), *module.named_parameters(recurse=False)):
                users[id(part)].append(f"{name}.{key}".removeprefix("."))
        for name, layer in self.model.named_modules():
            if isinstance(layer, HRALayer):
                layer._writable_weight()
                base = layer.get_base_layer()
                places = [place for part in (base, base.weight) for place in users[id(part)]]
                if others := [place for place in places if not place.startswith(f"{name}.")]:
                    raise ValueError(
                        f"HRA cannot merge into {name}: its weight is also used as {', '.join(others)}, which would "
                        "change too. Keep the adapter unmerged, export it with `hra.to_lora`, or load the base model "
                        "with a separate weight for this layer (transformers: `tie_word_embeddings=False`, then copy "
                        "the weight)."
                    )

    def _cast_adapter_dtype(self, adapter_name: str, autocast_adapter_dtype: bool = True) -> None:
        super()._cast_adapter_dtype(adapter_name, autocast_adapter_dtype)
        if autocast_adapter_dtype:
            return
        # The layers create parameters in float32; only this switch requests the base model's dtype.
        for layer in self.model.modules():
            if isinstance(layer, HRALayer) and adapter_name in layer.hra_u:
                u = layer.hra_u[adapter_name]
                layer.hra_u[adapter_name] = u.to(layer.get_base_dtype() or u.dtype)

    @contextmanager
    def _enable_peft_forward_hooks(
        self, *args: Any, adapter_names: list[str] | None = None, num_beams: int | None = None, **kwargs: Any
    ) -> Iterator[None]:
        """Pass `adapter_names`, one per sample, to the layers during one forward or generate call.

        Each is an adapter's name or "__base__". Raises ValueError in training mode and for a name that no layer has.
        """
        if adapter_names is None:
            yield
            return
        if self.training:
            raise ValueError("Cannot pass `adapter_names` when the model is in training mode.")
        layers = [m for m in self.modules() if isinstance(m, HRALayer)]
        unknown = set(adapter_names).difference({"__base__"}, *(layer.hra_u for layer in layers))
        if unknown:
            raise ValueError(f"`adapter_names`: expected names of HRA adapters, found {', '.join(sorted(unknown))}.")

        def add_names(module: nn.Module, inputs: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            names = adapter_names
            # Beam search repeats every sample, except in the encoder of an encoder-decoder model.
            if num_beams and len(inputs[0]) == num_beams * len(names):
                names = [name for name in names for _ in range(num_beams)]
            return inputs, options | {"adapter_names": names}

        wrappers = [m for m in self.modules() if isinstance(m, AuxiliaryTrainingWrapper)]
        handles = [module.register_forward_pre_hook(add_names, with_kwargs=True) for module in layers + wrappers]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


# Modules in which PEFT re-exports the names. The defining modules keep PEFT's classes: pickle needs them.
_NAMESPACES = (peft, peft.tuners, peft.tuners.hra)
_NAMES = {"HRAModel": HRAModel, "HRALinear": Linear, "HRAConv2d": Conv2d}
_replaced: list[tuple[Any, str, Any]] = []


def install() -> None:
    """Make PEFT create this package's layers for HRA. A second call has no effect.

    This applies to `get_peft_model`, `PeftModel.from_pretrained`, `inject_adapter_in_model` and
    diffusers' `add_adapter` with stock `peft.HRAConfig`. Existing models are unchanged.

    Warns if a version of torch, PEFT or a trainer is outside the tested range.
    Raises RuntimeError if the installed PEFT's HRA lacks a method or parameter that this package replaces.
    """
    if _replaced:
        return
    checks.check_replaceable(HRAModel)
    checks.check_versions()
    mappings: list[tuple[Any, Any]] = [(PEFT_TYPE_TO_TUNER_MAPPING, HRAModel), (PEFT_TYPE_TO_CONFIG_MAPPING, HRAConfig)]
    for mapping, ours in mappings:
        _replaced.append((mapping, PeftType.HRA, mapping[PeftType.HRA]))
        mapping[PeftType.HRA] = ours
    for name in EXTENDED:
        PEFT_TYPE_TO_CONFIG_MAPPING[name] = HRAConfig  # type: ignore[index] # a name in files only
    for namespace in _NAMESPACES:
        for name, ours in _NAMES.items():
            if hasattr(namespace, name):
                _replaced.append((namespace, name, getattr(namespace, name)))
                setattr(namespace, name, ours)


def uninstall() -> None:
    """Restore PEFT's own HRA. Existing models are unchanged."""
    for target, name, theirs in _replaced:
        if isinstance(target, dict):
            target[name] = theirs
        else:
            setattr(target, name, theirs)
    for name in EXTENDED:
        PEFT_TYPE_TO_CONFIG_MAPPING.pop(name, None)  # type: ignore[call-overload]
    _replaced.clear()
