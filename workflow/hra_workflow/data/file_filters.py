"""The selection of a download's files in a folder, by their names, before any of them is read."""

from collections.abc import Callable
from pathlib import PurePosixPath

# Files that can be read without executing code in them; a .bin, .pth, .pth.tar or .ckpt is later loaded with
# weights_only=True.
MODEL_FILES = {".json", ".txt", ".model", ".safetensors", ".bin", ".pth", ".tar", ".ckpt", ".jinja", ".gguf", ".dat"}
IMAGES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
ENDINGS = " ".join(sorted(IMAGES))


def is_model_file(path: str) -> bool:
    return PurePosixPath(path).suffix in MODEL_FILES


def is_image(path: str) -> bool:
    return PurePosixPath(path).suffix.lower() in IMAGES


def of_splits(dataset: dict) -> list[str]:
    """List the files that the splits of a text dataset are read from."""
    return list(dict.fromkeys(path for paths in dataset["splits"].values() for path in paths))


def wanted(dataset: dict | None, tables: bool = False) -> Callable[[str], bool]:
    """Return the filter of a download: of a model (None), a subject, a control dataset or a text dataset.

    tables: also accept Parquet files for a subject.
    """
    if dataset is None:
        return is_model_file
    if "resolution" in dataset:
        return lambda path: is_image(path) or (tables and path.endswith(".parquet"))
    return (lambda path: True) if dataset.get("archives") else of_splits(dataset).__contains__
