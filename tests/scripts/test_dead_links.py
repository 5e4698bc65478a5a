"""The check that `make docs` makes of the site: docs/dead_links.py."""

import importlib.util

import pytest

from support import ROOT


@pytest.fixture(scope="module")
def dead_links():
    spec = importlib.util.spec_from_file_location("dead_links", ROOT / "docs/dead_links.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("link", "fault"),
    [
        ("https://example.org/nowhere", None),
        ("data:,", None),
        ("#here", None),
        ("#nowhere", "names a place that the page lacks"),
        ("more/other%20page.html?v=1#caf\u00e9", None),
        ("more/other%20page.html#here", "names a place that the page lacks"),
        ("more/image.png", None),
        ("more/image.svg", "does not exist"),
        ("more", "does not exist"),  # a server shows its index.html, a browser of files does not
        ("../hra/layers.py", "leads out of site"),
        ("/hra/layers.py", "leads out of site"),
        ("file:///etc/hostname", "leads to a file of this machine"),
    ],
)
def test_a_link(link, fault, tmp_path, dead_links):
    more = tmp_path / "site/more"
    more.mkdir(parents=True)
    (tmp_path / "hra").mkdir()
    (tmp_path / "hra/layers.py").touch()
    (more / "image.png").touch()
    (more / "other page.html").write_text('<p id="caf\u00e9"><a class="back" href="../index.html">')
    (more.parent / "index.html").write_text(f'<p class="a" id="here"><a class="b" href="{link}">…</a>')
    assert list(dead_links.find(more.parent)) == ([f"index.html: {link} {fault}"] if fault else [])
