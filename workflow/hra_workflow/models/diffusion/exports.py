"""LoRA adapters of a pipeline's network in the layouts of diffusers, and of kohya's scripts and ComfyUI."""

from pathlib import Path

from hra_workflow.data import safe_checkpoints
from hra_workflow.models import adapters, diffusion
from hra_workflow.models.built_adapters import PREFIX

DIFFUSERS, KOHYA = "pytorch_lora_weights.safetensors", "comfyui.safetensors"


def write_lora(adapter: Path, out: Path, base: Path) -> bool:
    """Write PEFT's LoRA adapter for `pipe.load_lora_weights`; return False if diffusers cannot load it.

    diffusers does not load modules that are trained along with the adapter. `base`: the folder of the pipeline.
    """
    from peft import LoraConfig, PeftConfig

    config, state = PeftConfig.from_pretrained(adapter), safe_checkpoints.load(adapter / adapters.WEIGHTS)
    if type(config) is not LoraConfig or not all(".lora_" in key for key in state):  # AdaLoRA's config is a subclass
        return False
    import diffusers

    architecture = diffusion.architecture_in(base)
    name = architecture.component
    layers = {key.removeprefix(PREFIX): value for key, value in state.items()}
    told = {
        f"{name}_lora_layers": layers,
        f"{name}_lora_adapter_metadata": config.to_dict(),
    }
    getattr(diffusers, architecture.pipeline).save_lora_weights(out, weight_name=DIFFUSERS, **told)
    return True


def write_kohya(lora: Path) -> str | None:
    """Write a folder's diffusers LoRA also in kohya's layout; return why this is impossible, or None.

    diffusers' converter knows the names of UNets and would not change those of transformers. It leaves DoRA's
    magnitudes with a name that nothing reads, and ComfyUI divides by the row lengths of W instead of those of W + B A
    (Comfy-Org/ComfyUI at a125cd8, comfy/weight_adapter/base.py: weight_decompose).
    """
    from diffusers.utils import convert_state_dict_to_kohya
    from safetensors.torch import save_file

    state = safe_checkpoints.load(lora / DIFFUSERS)
    if any(".lora_magnitude_vector" in key for key in state):
        return f"lora/{DIFFUSERS} is a DoRA: ComfyUI and kohya's scripts do not compute what it stands for. Merge it"
    if not all(key.startswith("unet.") for key in state):
        return f"ComfyUI loads lora/{DIFFUSERS}; diffusers has no converter to kohya's layout"
    save_file(convert_state_dict_to_kohya(state), lora / KOHYA)
    return None
