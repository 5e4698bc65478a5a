"""Reading of single-file Stable Diffusion checkpoints in LDM's layout, without executing code."""

from pathlib import Path

import torch

from hra_workflow.core.errors import JobError
from hra_workflow.core.wording import meant
from hra_workflow.data import safe_checkpoints
from hra_workflow.models.diffusion import components
from hra_workflow.models.ldm import keys as ldm_keys

EXAMPLES = 3  # number of names in an error
SCHEDULE = (
    "betas", "alphas_cumprod", "alphas_cumprod_prev", "sqrt_alphas_cumprod", "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod", "sqrt_recip_alphas_cumprod", "sqrt_recipm1_alphas_cumprod", "posterior_variance",
    "posterior_log_variance_clipped", "posterior_mean_coef1", "posterior_mean_coef2", "logvar",
)  # fmt: skip
UNUSED = ("model_ema.", "control_model.time_embed.", ldm_keys.POSITIONS, *SCHEDULE)


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


def empty_parts(folder: Path) -> dict:
    """Build UNet, autoencoder and text encoder from their configs in a diffusers folder, without weights."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    components.quiet()
    try:
        with torch.device("meta"):
            parts = {
                name: cls.from_config(cls.load_config(folder, subfolder=name))
                for name, cls in (("unet", UNet2DConditionModel), ("vae", AutoencoderKL))
            }
            config = CLIPTextConfig.from_pretrained(folder, subfolder="text_encoder")
            return parts | {"text_encoder": CLIPTextModel(config)}
    except OSError as problem:
        reason = " ".join(str(problem).split())
        raise JobError(
            f"{folder}: a single-file checkpoint needs diffusers' config files next to it, unet/config.json, "
            f"vae/config.json, text_encoder/config.json, tokenizer and scheduler ({reason}). Add them to `files`."
        ) from problem


def names(part: str, model) -> dict[str, str]:
    """Map diffusers' (or transformers') names of a component's weights to LDM's."""
    listed = [
        name
        for name in model.state_dict()
        if "position_ids" not in name and ldm_keys.HINT_ENCODER not in name.split(".")
    ]
    if part == "unet":
        return ldm_keys.of_unet(listed, model.config.layers_per_block)
    return {"vae": ldm_keys.of_autoencoder, "text_encoder": ldm_keys.of_text_encoder}[part](listed)


def check(state: dict, parts: dict, path: Path) -> None:
    """Raise JobError, with the nearest names, unless the file has exactly the model's weights with their shapes."""
    expected = {}
    for part, model in parts.items():
        weights = model.state_dict()
        expected |= {ldm: weights[name].shape for name, ldm in names(part, model).items()}
    strange = [name for name in state if name not in expected and not name.startswith(UNUSED)]
    problems = []
    for what, found, others in (
        ("missing", [name for name in expected if name not in state], strange),
        ("foreign", strange, list(expected)),
    ):
        if found:
            shown = [f"{name}{meant(name, others)}" for name in found[:EXAMPLES]]
            problems.append(f"{len(found)} weights are {what}: {', '.join(shown)}{' …' * (len(found) > EXAMPLES)}")
    other_shapes = [name for name in expected if name in state and not same_shape(state[name].shape, expected[name])]
    for name in other_shapes[:1]:
        problems.append(f"{name} has the shape {tuple(state[name].shape)}, the config's is {tuple(expected[name])}")
    if problems:
        raise JobError(f"{path} does not match the config files. {'; '.join(problems)}. Use this model's config files.")


def same_shape(found: torch.Size, expected: torch.Size) -> bool:
    """Compare shapes; a linear layer of the autoencoder is a 1 × 1 convolution in LDM."""
    return found == expected or tuple(found) == (*expected, 1, 1)


def pipeline(state: dict, folder: Path, path: Path):
    """Build a float32 StableDiffusionPipeline from a checkpoint's weights, as returned by `read` for `path`.

    `folder` contains diffusers' config files, tokenizer and scheduler. The raw weights are used, as in the official
    code, instead of the EMA weights that some files also have.
    """
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    parts = empty_parts(folder)
    check(state, parts, path)
    common = {"config": str(folder), "dtype": torch.float32, "local_files_only": True}
    text = CLIPTextModel(parts["text_encoder"].config)
    text.load_state_dict({name: state[ldm] for name, ldm in names("text_encoder", text).items()}, strict=False)
    return StableDiffusionPipeline(
        unet=UNet2DConditionModel.from_single_file(state, subfolder="unet", extract_ema=False, **common),
        vae=AutoencoderKL.from_single_file(state, subfolder="vae", **common),
        text_encoder=text.float().eval(),
        tokenizer=CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer"),
        scheduler=DDIMScheduler.from_pretrained(folder, subfolder="scheduler"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def convert(path: Path, folder: Path, out: Path) -> None:
    """Convert a checkpoint to a diffusers folder, the format used everywhere else; arguments as in `pipeline`."""
    pipeline(read(path), folder, path).save_pretrained(out)


def diffusers_folder(folder: Path, out: Path) -> Path:
    """Return a model's folder if it has diffusers' layout, else `out`, with its converted single-file checkpoint."""
    if any((folder / "unet").glob("*.safetensors")):
        return folder
    found = sorted(path for path in folder.iterdir() if path.suffix in (".ckpt", ".safetensors"))
    if len(found) != 1:
        raise JobError(
            f"{folder}: expected diffusers' layout (unet/*.safetensors) or one checkpoint file next to the configs, "
            f"found {len(found)} ({', '.join(path.name for path in found) or 'none'}). Correct the model's `files`."
        )
    convert(found[0], folder, out)
    return out
