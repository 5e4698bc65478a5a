"""The images of README and docs/ are those of today's code, configs and results."""

import pytest

from benchmarks import docs_images
from support import ROOT

NAMES = [path.stem for path in sorted((ROOT / "docs/images").glob("*.png"))]


@pytest.mark.parametrize("name", NAMES)
def test_an_image_is_made_from_what_is_here_today(name):
    path, sources = docs_images.FOLDER / f"{name}.png", docs_images.MADE_FROM[name]
    assert docs_images.stated(path) == docs_images.digest(sources), (
        f"docs/images/{name}.png was made from another state of {', '.join(map(str, sources))}. Run "
        "make demo, python -m benchmarks.docs_images; "
        "if the change does not show in the image: python -m benchmarks.docs_images --same"
    )


def test_every_image_is_on_a_page():
    found = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    pages = "".join(path.read_text() for path in found if path.exists())
    assert set(NAMES) == set(docs_images.MADE_FROM)
    names = [path.name for path in docs_images.FOLDER.iterdir()]
    assert not [name for name in names if f"images/{name}" not in pages]
