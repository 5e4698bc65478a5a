"""Reading of single-file Stable Diffusion checkpoints in LDM's layout, by diffusers and without executing code."""

from pathlib import Path

import torch

from hra_workflow.core.errors import JobError
from hra_workflow.data import safe_checkpoints
from hra_workflow.models.diffusion import components

UNET = "model.diffusion_model."
PARTS = {"unet": UNET, "vae": "first_stage_model.", "text_encoder": "cond_stage_model.transformer.text_model."}
POSITIONS = f"{PARTS['text_encoder']}embeddings.position_ids"  # a constant


def read(path: Path) -> dict[str, torch.Tensor]:
    """Read the weights of a .ckpt or .safetensors file by name; raise JobError if it is corrupted or contains code."""
    from hra.official import LIGHTNING

    if path.suffix == ".safetensors":
        return safe_checkpoints.load(path, "Download the file again.")
    content = safe_checkpoints.tensors(path, [LIGHTNING])
    while isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not any(isinstance(value, torch.Tensor) for value in content.values()):
        raise JobError(
            f"{path}: expected named weights or a `state_dict`, found neither. Use a Stable Diffusion checkpoint."
        )
    return {name: value for name, value in content.items() if isinstance(value, torch.Tensor)}


def pipeline(state: dict, folder: Path, path: Path):
    """Build a float32 StableDiffusionPipeline from a checkpoint's weights, as returned by `read` for `path`.

    `folder` contains diffusers' config files, tokenizer and scheduler. The raw weights are used, as in the official
    code, instead of the EMA weights that some files also have. Raises JobError unless the file has exactly the weights
    of the config files.
    """
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from diffusers.loaders.single_file_utils import create_diffusers_clip_model_from_ldm
    from transformers import CLIPTextModel, CLIPTokenizer

    components.quiet()
    common = {"config": str(folder), "local_files_only": True}
    try:
        loaded = {
            "unet": UNet2DConditionModel.from_single_file(dict(state), subfolder="unet", extract_ema=False, **common),
            "vae": AutoencoderKL.from_single_file(dict(state), subfolder="vae", **common),
        }
        text = create_diffusers_clip_model_from_ldm(CLIPTextModel, dict(state), "text_encoder", **common)
        loaded["text_encoder"] = text.eval()
        for part, model in loaded.items():
            weights, names = model.state_dict(), {name for name in state if name.startswith(PARTS[part])} - {POSITIONS}
            lacking = [name for name, one in weights.items() if one.is_meta]
            if lacking or len(names) != len(weights):
                raise ValueError(
                    f"expected {len(weights)} weights of the {part}, found {len(names)}"
                    + (f", without {lacking[0]}" if lacking else "")
                )
    except OSError as problem:
        reason = " ".join(str(problem).split())
        raise JobError(
            f"{folder}: a single-file checkpoint needs diffusers' config files next to it, unet/config.json, "
            f"vae/config.json, text_encoder/config.json, tokenizer and scheduler ({reason}). Add them to `files`."
        ) from problem
    except (KeyError, RuntimeError, ValueError) as problem:
        reason = "weights are missing" if isinstance(problem, NotImplementedError) else problem  # they have no data
        raise JobError(f"{path} does not match the config files: {reason}. Use this model's config files.") from problem
    return StableDiffusionPipeline(
        **{part: model.float() for part, model in loaded.items()},
        tokenizer=CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer"),
        scheduler=DDIMScheduler.from_pretrained(folder, subfolder="scheduler"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def convert(folder: Path, out: Path) -> None:
    """Convert a model's single-file checkpoint to diffusers' layout, in `out`, unless its folder has that layout."""
    if any((folder / "unet").glob("*.safetensors")):
        return
    found = sorted(path for path in folder.iterdir() if path.suffix in (".ckpt", ".safetensors"))
    if len(found) != 1:
        raise JobError(
            f"{folder}: expected diffusers' layout (unet/*.safetensors) or one checkpoint file next to the configs, "
            f"found {len(found)} ({', '.join(path.name for path in found) or 'none'}). Correct the model's `files`."
        )
    pipeline(read(found[0]), folder, found[0]).save_pretrained(out)
