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


@pytest.mark.parametrize(
    ("suffix", "old", "comment", "change"),
    [
        ("py", "def f(x): return x\n", '"""New."""\ndef f(x):\n    return x  # the argument\n', "def f(x): return -x"),
        ("yaml", "a: 1\n", "a: 1 # one\n", "a: 2\n"),
    ],
)
def test_comments_do_not_make_an_image_stale(suffix, old, comment, change, tmp_path):
    texts = (tmp_path / f"{index}.{suffix}" for index in range(3))
    meant = [
        docs_images.meaning(path)
        for path, text in zip(texts, (old, comment, change), strict=True)
        if path.write_text(text)
    ]
    assert meant[0] == meant[1] != meant[2]
