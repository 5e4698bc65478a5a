"""Writing a saved adapter as a LoRA or DoRA adapter, or merged into its base model."""

import shutil
from pathlib import Path

from huggingface_hub import snapshot_download

from .export import DIFFUSERS_FILE
from .export import to_lora as export
from .loading import find_base, load
from .paths import new_folder, share

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
    report(folder, f"{name} with {adapter} merged")


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
