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
    pages = "".join(path.read_text() for path in found if path.exists())  # not links to a deleted package
    assert set(NAMES) == set(docs_images.MADE_FROM)
    names = [path.name for path in docs_images.FOLDER.iterdir()]
    assert not [name for name in names if f"images/{name}" not in pages]


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ("a.py", '"""New."""\n\n\ndef f(x):\n    """Also new."""\n    return x  # the argument\n', True),
        ("a.py", "def f(x):\n    return -x\n", False),
        ("a.yaml", "a: 1 # one\n", True),
        ("a.yaml", "a: 2\n", False),
        ("a.csv", "a\n2\n", False),
    ],
)
def test_comments_do_not_make_an_image_stale(before, after, same, tmp_path):
    old = {"a.py": "def f(x): return x\n", "a.yaml": "a: 1\n", "a.csv": "a\n1\n"}[before]
    files = [tmp_path / name / before for name in ("old", "new")]
    for path, text in zip(files, (old, after), strict=True):
        path.parent.mkdir()
        path.write_text(text)
    assert (docs_images.meaning(files[0]) == docs_images.meaning(files[1])) == same
