"""The commands: a saved adapter is inspected, written as a LoRA adapter, or merged into its base model.

torch and PEFT, which take seconds, are imported after the check of a command's paths.
"""

import shutil
from pathlib import Path

from .paths import check_adapter, check_base, new_folder, share

# Files of tokenizers, processors, feature extractors and chat templates in transformers' model folders.
PREPROCESSING = (
    *("tokenizer*", "special_tokens_map.json", "added_tokens.json", "*vocab*.*", "merges.txt", "bpe.codes"),
    *("*.model", "*.spm", "*.tiktoken", "*.tokenizer", "tekken.json", "dict.txt", "emoji.json", "normalizer.json"),
    *("byte_maps.json", "word_shape.json", "word_pronunciation.json"),
    *("*processor_config.json", "audio_tokenizer_config.json", "chat_template*", "additional_chat_templates/*"),
)


def inspect(adapter: str) -> None:
    """Show how far every layer of an HRA adapter is from the base model, which it does not need.

    Per layer: ‖I - UᵀU‖ of the unit columns, ‖H - I‖, and H's largest angle of rotation. Fully
    trained modules (`modules_to_save`) are not measured.
    """
    check_adapter(adapter)
    from .inspection import show

    show(adapter)


def to_lora(adapter: str, out: str, base: str | None) -> None:
    """Export an equivalent LoRA adapter, with the adapter's own tokenizer if it has one.

    `PeftModel.from_pretrained` can load it, and, if the base model belongs to a diffusers pipeline,
    `pipe.load_lora_weights`. The last line of the output lists the written files.
    """
    folder = check(adapter, out, base)
    from .export import DIFFUSERS_FILE
    from .export import to_lora as export
    from .loading import find_base, load

    found = find_base(adapter, base)
    model, beside = load(adapter, found)
    config, state = export(model, folder, beside=beside, component=found.component)
    copy_preprocessing(adapter, folder)
    readers = ["PeftModel.from_pretrained"] + ["load_lora_weights"] * (folder / DIFFUSERS_FILE).is_file()
    layers = sum(key.endswith("lora_A.weight") for key in state)
    report(folder, f"a LoRA adapter of rank {config.r} on {layers} layers, for {' and '.join(readers)}")


def merge(adapter: str, out: str, base: str | None) -> None:
    """Write the base model with the adapter merged into its weights.

    The merged weights have the dtype of the base model's files; those of diffusers' models are float32. A model of
    transformers gets its tokenizer, processor and chat template; the adapter's own ones take precedence. If the
    base model is a diffusers pipeline, the complete pipeline is written. The names of a classifier's classes are not in
    PEFT's files: set `id2label` and `label2id` in the written config.json. The last line of the output lists the
    written files.
    """
    folder = check(adapter, out, base)
    from .loading import find_base, load

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


def check(adapter: str, out: str, base: str | None) -> Path:
    """Check a command's paths and return that of the new folder. Raises ValueError."""
    folder = new_folder(out)
    check_adapter(adapter)
    if base:
        check_base(base, "Correct")
    return folder


def copy_preprocessing(source: str, out: Path, revision: str | None = None) -> None:
    """Copy the tokenizer and processor files, byte for byte, from a folder or a model on the Hugging Face Hub."""
    folder = Path(source)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download

        folder = Path(snapshot_download(source, revision=revision, allow_patterns=list(PREPROCESSING)))
    for path in {path for pattern in PREPROCESSING for path in folder.glob(pattern) if path.is_file()}:
        (out / path.relative_to(folder)).parent.mkdir(exist_ok=True)
        shutil.copyfile(path, out / path.relative_to(folder))


def report(folder: Path, content: str) -> None:
    """Print one line with the folder, its content and the names of its files."""
    files = ", ".join(sorted(path.name + "/" * path.is_dir() for path in folder.iterdir()))
    print(f"wrote {folder}: {content} ({files})")
