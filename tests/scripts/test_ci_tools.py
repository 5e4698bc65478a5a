"""The tools in .ci/ and docs/: sizes and reading paths, words in prose, links of the site."""

import importlib.util

import pytest

from support import ROOT


def tool(path: str):
    spec = importlib.util.spec_from_file_location(path.rpartition("/")[2].removesuffix(".py"), ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


prose = tool(".ci/prose.py")


def test_a_size_beyond_its_limit_fails(monkeypatch, capsys):
    size = tool(".ci/size.py")
    monkeypatch.setattr(size, "loaded", lambda scripts: ["Snakefile"])  # the plan takes seconds
    assert size.main() == 0
    monkeypatch.setattr(size, "lines", lambda names: 10**6)
    assert size.main() == 1
    assert capsys.readouterr().out.count("hra, workflow, rules: expected no more than the limit") == 1


MARKDOWN = """\
# Title

The file has a folder of its
own. `anew` and [a link](anew.md) are not prose, a word (anew) is.

```bash
make anew   # anew
```
"""
PYTHON = '''\
"""What a run needs."""

anew = count("anew")  # made anew
raise ValueError(f"expected {anew} rows, 5 came.")
# A comment of its
# own.
'''


@pytest.mark.parametrize(
    "name, text, expected",
    [
        ("page.md", MARKDOWN, ["3:23 of its own", "4:58 anew"]),
        ("code.py", PYTHON, ["1:3 What", "3:30 anew", "4:44 came", "5:13 of its own"]),
    ],
)
def test_finds_words_in_prose_only(name, text, expected):
    found = [line.removeprefix(f"{name}:").split(": ", 1) for line in prose.findings(name, text)]
    words = [f"{place} {message.split('found ')[1].strip('“¶”.')}" for place, message in found]
    assert words == expected


def test_a_link(tmp_path):
    dead_links = tool("docs/dead_links.py")
    more = tmp_path / "site/more"
    more.mkdir(parents=True)
    (tmp_path / "hra").mkdir()
    (tmp_path / "hra/layers.py").touch()
    (more / "other page.html").write_text('<p id="caf\u00e9"><a class="back" href="../index.html">')
    faults = {
        "https://example.org/nowhere": None,
        "#here": None,
        "#nowhere": "names a place that the page lacks",
        "more/other%20page.html?v=1#caf\u00e9": None,
        "more/other%20page.html#here": "names a place that the page lacks",
        "more": "does not exist",  # a server shows its index.html, a browser of files does not
        "../hra/layers.py": "leads out of site",
        "file:///etc/hostname": "leads to a file of this machine",
    }
    for link, fault in faults.items():
        (more.parent / "index.html").write_text(f'<p class="a" id="here"><a class="b" href="{link}">…</a>')
        assert list(dead_links.find(more.parent)) == ([f"index.html: {link} {fault}"] if fault else [])
