"""Make the images of README and docs/, each with a digest of its sources in its metadata.

    python -m benchmarks.docs_images            make the images of demo/, after make demo
    python -m benchmarks.docs_images --same     after an invisible change: keep the images, renew the digests

A test compares the digests with those of the current code, configs and results. The other images are made by the
commands of packages and studies that write their pages.
"""

import ast
import hashlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path

import yaml
from PIL import Image
from PIL.PngImagePlugin import PngInfo

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs/images"
KEY = "made from"
LARGEST = 1100, 2000  # pixels
STYLE = "workflow/hra_workflow/report/plot_style.py"
DEMO = {
    "demo_sheet": "demo/results/sheets/control_scenes-classes.png",
    "demo_glue": "demo/results/figures/glue_parameters.png",
}
MADE_FROM = {
    "demo_sheet": [
        *("config/methods.yaml", "config/demo/config.yaml", "config/demo/quick.yaml", "workflow/scripts/sheet.py"),
        *("workflow/hra_workflow/report/image_grid.py", "workflow/hra_workflow/tasks/control/sheet.py"),
    ],
    "demo_glue": [
        *("config/methods.yaml", "config/demo/config.yaml", "config/demo/quick.yaml", "workflow/scripts/figures.py"),
        STYLE,
    ],
}


def digest(sources: Iterable[str | Path]) -> str:
    """Return the SHA-256 of the current sources of an image, whose paths are relative to the repository."""
    parts = [meaning(ROOT / path) for path in sources]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def meaning(path: Path) -> str:
    """Return the text of a file; for Python and YAML, without comments, docstrings and layout."""
    text = path.read_text()
    if path.suffix == ".yaml":
        return json.dumps(yaml.safe_load(text))
    if path.suffix != ".py":
        return text
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return of_node(tree)


def of_node(node) -> str:
    """Write a syntax tree, the same with every version of Python: `ast.dump` has the empty fields of its version."""
    if isinstance(node, list):
        return f"[{', '.join(map(of_node, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [f"{name}={of_node(value)}" for name, value in ast.iter_fields(node) if value not in (None, [])]
    return f"{type(node).__name__}({', '.join(fields)})"


def stated(path: Path) -> str | None:
    """Return the digest in the metadata of an image."""
    with Image.open(path) as image:
        return image.text.get(KEY)


def write(path: Path, image: Image.Image, sources: Iterable[str | Path]) -> None:
    """Write an image with the digest of its sources."""
    information = PngInfo()
    information.add_text(KEY, digest(sources))
    image.save(path, pnginfo=information, optimize=True)


def stamp(path: Path, sources: Iterable[str | Path]) -> None:
    """Write the current digest of its sources into an existing image."""
    with Image.open(path) as image:
        image.load()
    write(path, image, sources)


def renew(*names: str) -> None:
    """Write the current digests into images of docs/."""
    for name in names:
        stamp(FOLDER / f"{name}.png", MADE_FROM[name])


def main(arguments: list[str]) -> None:
    if arguments not in ([], ["--same"]):
        sys.exit((__doc__ or "").strip())
    if arguments:
        renew(*MADE_FROM)
        return
    for name, path in DEMO.items():
        if not (ROOT / path).exists():
            sys.exit(f"{path}: expected the demo's result, found none. Run make demo.")
        with Image.open(ROOT / path) as image:
            shown = image.convert("RGB")
        shown.thumbnail(LARGEST)
        write(FOLDER / f"{name}.png", shown, MADE_FROM[name])


if __name__ == "__main__":
    main(sys.argv[1:])
