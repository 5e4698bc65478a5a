"""LoRA adapters of a pipeline's network in the layout of diffusers."""

from pathlib import Path

from hra_workflow.data import safe_checkpoints
from hra_workflow.models import adapters, diffusion
from hra_workflow.models.built_adapters import PREFIX

DIFFUSERS = "pytorch_lora_weights.safetensors"


def write_lora(adapter: Path, out: Path, base: Path) -> None:
    """Write PEFT's LoRA adapter for `pipe.load_lora_weights`, unless diffusers cannot load it.

    diffusers does not load modules that are trained along with the adapter. `base`: the folder of the pipeline.
    """
    from peft import LoraConfig, PeftConfig

    config, state = PeftConfig.from_pretrained(adapter), safe_checkpoints.load(adapter / adapters.WEIGHTS)
    if type(config) is not LoraConfig or not all(".lora_" in key for key in state):  # AdaLoRA's config is a subclass
        return
    import diffusers

    architecture = diffusion.architecture_in(base)
    name = architecture.component
    layers = {key.removeprefix(PREFIX): value for key, value in state.items()}
    told = {
        f"{name}_lora_layers": layers,
        f"{name}_lora_adapter_metadata": config.to_dict(),
    }
    getattr(diffusers, architecture.pipeline).save_lora_weights(out, weight_name=DIFFUSERS, **told)
