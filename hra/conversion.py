"""Writing a saved adapter as a LoRA or DoRA adapter, merged into its base model, or at another strength."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from peft import HRAConfig
from torch import nn

from .base_layer import HRALayer
from .export import DIFFUSERS_FILE, save
from .export import to_lora as export
from .inspection import adapted_layers, probe
from .loading import check_tensors, find_base, load, read_config, read_weights
from .outputs import fold
from .paths import new_folder, share
from .rewinding import POWERS

# Files of tokenizers, processors, feature extractors and chat templates in transformers' model folders.
PREPROCESSING = (
    *("tokenizer*", "special_tokens_map.json", "added_tokens.json", "*vocab*.*", "merges.txt", "bpe.codes"),
    *("*.model", "*.spm", "*.tiktoken", "*.tokenizer", "tekken.json", "dict.txt", "emoji.json", "normalizer.json"),
    *("byte_maps.json", "word_shape.json", "word_pronunciation.json"),
    *("*processor_config.json", "audio_tokenizer_config.json", "chat_template*", "additional_chat_templates/*"),
)


def to_lora(adapter: str, out: str, base: str | None) -> None:
    """Write a saved adapter as a LoRA or DoRA adapter: `hra to-lora`."""
    folder = new_folder(out)
    found = find_base(adapter, base)
    model, beside = load(adapter, found)
    config, state = export(model, folder, beside=beside, component=found.component)
    copy_preprocessing(adapter, folder)
    readers = ["PeftModel.from_pretrained"] + ["load_lora_weights"] * (folder / DIFFUSERS_FILE).is_file()
    layers = sum(key.endswith("lora_A.weight") for key in state)
    kind = "DoRA" if config.use_dora else "LoRA"
    report(folder, f"a {kind} adapter of rank {config.r} on {layers} layers, for {' and '.join(readers)}")


def merge(adapter: str, out: str, base: str | None) -> None:
    """Write the base model with a saved adapter merged into its weights: `hra merge`."""
    folder = new_folder(out)
    found = find_base(adapter, base)
    model, lost = load(adapter, found)
    name = type(model.get_base_model()).__name__
    if lost:
        raise ValueError(
            f"{adapter} also has {len(lost)} weights such as {next(iter(lost))}, for which {name} has no module: a "
            "merged model would lack them. Add that module to the model in Python, load the adapter and call "
            "`merge_and_unload()`."
        )
    unmerged = {
        path: (layer, outputs(layer, layer._parameter()), outputs(layer, layer._parameter(), adapted=True))
        for path, layer in adapted_layers(model)
        if isinstance(layer, HRALayer) and layer.get_base_dtype() is not None  # the merge refuses other weights
    }
    merged = model.merge_and_unload(safe_merge=True)
    if found.pipeline and found.component:
        from diffusers import DiffusionPipeline

        pipeline = DiffusionPipeline.from_pretrained(found.path, revision=found.revision, **{found.component: merged})
        pipeline.save_pretrained(folder)
        name = f"{type(pipeline).__name__}, its {found.component}"
    else:
        merged.save_pretrained(folder)
        for source in (found.path, adapter):  # the adapter's own tokenizer is the one that it was trained with
            copy_preprocessing(source, folder, found.revision if source == found.path else None)
    share(folder)
    if unmerged:
        print(rounding(merged, unmerged))
    report(folder, f"{name} with {adapter} merged")


def outputs(layer: HRALayer, weight: torch.Tensor, adapted: bool = False) -> torch.Tensor:
    """Compute W x or, if `adapted`, diag(1 + δ) H_L W H_R x for the 8 inputs of `probe`.

    weight: (out, ...), or E stacked experts. Returns (out, 8) in float64; for experts (E out, 8), one below another.
    """
    matrices = layer._matrices(weight)
    if not adapted:
        return torch.cat([probe(W) for W in matrices])
    factors = (factor.view(-1, *factor.shape[-2:]) for factor in layer.get_factors(layer.active_adapters))
    y = torch.cat([probe(W, (V, B)) for W, V, B in zip(matrices, *factors, strict=True)])
    if steps := layer.get_steps(layer.active_adapters):
        groups = getattr(layer.get_base_layer(), "groups", 1)
        V, B, d = fold(steps, groups)
        y = y.view(groups, -1, y.shape[-1])
        y = y if V is None or B is None else y - B @ (V.mT @ y)
        y = (y if d is None else d[..., None] * y).flatten(0, 1)
    return y


def rounding(merged: nn.Module, unmerged: Mapping[str, tuple[HRALayer, torch.Tensor, torch.Tensor]]) -> str:
    """Describe the layer whose outputs differ most, relatively, from those before the merge.

    unmerged: by path, the layer and its `outputs` without and with the adapter.
    """
    errors, changes, dtypes = {}, {}, {}
    for path, (layer, base, adapted) in unmerged.items():
        module = merged.get_submodule(path.replace(".base_layer", ""))
        weight: torch.Tensor = getattr(module, layer.parameter_name or "weight")
        errors[path] = ((outputs(layer, weight) - adapted).norm() / adapted.norm()).item()
        changes[path] = ((base - adapted).norm() / adapted.norm()).item()
        dtypes[path] = str(weight.dtype).removeprefix("torch.")
    path = max(errors, key=lambda path: errors[path])
    return (
        f"rounding to {dtypes[path]} changes a layer's outputs by at most {errors[path]:.1e} of their norm, on random "
        f"inputs ({path}, whose outputs the adapter changes by {changes[path]:.1e})"
    )


def rewind(adapter: str, out: str, strength: float) -> None:
    """Write a saved adapter with the powers H^t and (1 + δ)^t instead of each layer's H and 1 + δ: `hra rewind`."""
    folder = new_folder(out)
    config = read_config(adapter)
    if not isinstance(config, HRAConfig) or config.apply_GS:
        found = "one with λ = ∞" if isinstance(config, HRAConfig) else config.peft_type.value
        raise ValueError(f"{adapter}: expected an HRA adapter with finite λ, found {found}")
    weights = read_weights(adapter)
    check_tensors(adapter, config, weights)
    layers = sum(key.endswith(".hra_u") for key in weights)
    if not layers:
        raise ValueError(f"{adapter}: expected tensors named hra_u, found none. Copy or download it again.")
    for key, tensor in weights.items():
        if (change := POWERS.get(key.rpartition(".")[2])) is None:
            continue
        try:
            weights[key] = change(tensor, strength)
        except ValueError as error:
            raise ValueError(f"{adapter}: {key}: {error}") from None
    folder.mkdir(parents=True, exist_ok=True)
    save(folder, config, weights)
    copy_preprocessing(adapter, folder)
    beyond = "" if 0 <= strength <= 1 else ", an extrapolation: 0 is the base model, 1 the adapter as it is"
    report(folder, f"{adapter} at strength {strength:g} on {layers} layers{beyond}")


def copy_preprocessing(source: str, out: Path, revision: str | None = None) -> None:
    """Copy the tokenizer and processor files, byte for byte, from a folder or a model on the Hugging Face Hub."""
    folder = Path(source)
    if not folder.is_dir():
        folder = Path(snapshot_download(source, revision=revision, allow_patterns=list(PREPROCESSING)))
    for path in {path for pattern in PREPROCESSING for path in folder.glob(pattern) if path.is_file()}:
        (out / path.relative_to(folder)).parent.mkdir(exist_ok=True)
        shutil.copyfile(path, out / path.relative_to(folder))


def report(folder: Path, content: str) -> None:
    """Print one line with the folder, its content and the names of its files."""
    files = ", ".join(sorted(path.name + "/" * path.is_dir() for path in folder.iterdir()))
    print(f"wrote {folder}: {content} ({files})")
