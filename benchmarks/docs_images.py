"""Make the images of README and docs/, each with a digest of its sources in its metadata.

    make docs-images                            run the demos, and make the images of them, in 10 minutes on two cores
    python -m benchmarks.docs_images            make the images of demo/
    python -m benchmarks.docs_images --same     after an invisible change: keep the images, renew the digests

A test compares the digests with those of the current code, configs and results. The other images are made by the
command that writes their pages: benchmarks/comparison_page.py.
"""

import ast
import hashlib
import json
import sys
from pathlib import Path

import yaml
from PIL import Image
from PIL.PngImagePlugin import PngInfo

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs/images"
KEY = "made from"
LARGEST = 1100, 2000  # pixels
STYLE, RESULTS = "workflow/hra_workflow/report/plot_style.py", "benchmarks/results"
DEMO = {
    "demo_sheet": "demo/results/sheets/control_scenes-classes.png",
    "demo_glue": "demo/results/figures/glue_parameters.png",
    "demo_tuning": "demo/tune/results/figures/glue_tuning.png",
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
    "demo_tuning": ["config/methods.yaml", "config/demo/tune.yaml", "workflow/scripts/tuning_figure.py", STYLE],
    "rates": ["benchmarks/rates.py", STYLE, f"{RESULTS}/rates.csv"],
} | {
    f"{study}_{figure}": ["benchmarks/comparison_page.py", STYLE, f"{RESULTS}/{study}_{table}.csv"]
    for study in ("comparison", "comparison_b", "comparison_c", "comparison_d")
    for figure, table in (("forest", "contrasts"), ("cost", "runs"))
}


def digest(name: str) -> str:
    """Return the SHA-256 of the current sources of an image."""
    parts = [meaning(ROOT / path) for path in MADE_FROM[name]]
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
    return ast.dump(tree)


def stated(name: str) -> str | None:
    """Return the digest in the metadata of an image."""
    with Image.open(FOLDER / f"{name}.png") as image:
        return image.text.get(KEY)


def write(name: str, image: Image.Image) -> None:
    """Write an image with the digest of its sources."""
    information = PngInfo()
    information.add_text(KEY, digest(name))
    image.save(FOLDER / f"{name}.png", pnginfo=information, optimize=True)


def renew(*names: str) -> None:
    """Write the current digests into the existing images."""
    for name in names:
        with Image.open(FOLDER / f"{name}.png") as image:
            image.load()
        write(name, image)


def main(arguments: list[str]) -> None:
    if arguments not in ([], ["--same"]):
        sys.exit((__doc__ or "").strip())
    if arguments:
        renew(*MADE_FROM)
        return
    for name, path in DEMO.items():
        if not (ROOT / path).exists():
            sys.exit(f"{path}: expected the demo's result, found none. Run make docs-images.")
        with Image.open(ROOT / path) as image:
            shown = image.convert("RGB")
        shown.thumbnail(LARGEST)
        write(name, shown)


if __name__ == "__main__":
    main(sys.argv[1:])
