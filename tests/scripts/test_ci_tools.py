"""The tools in .ci/ and docs/: sizes and reading paths, words in prose, links of the site."""

import importlib.util
import re
from collections.abc import Iterator

import pytest
import yaml

import evaluate_glue
from hra_workflow.core import files
from rule_jobs import train
from support import ROOT, method


@pytest.fixture
def size(monkeypatch):
    spec = importlib.util.spec_from_file_location("size", ROOT / ".ci/size.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "loaded", lambda scripts: ["Snakefile"])  # the plan takes seconds
    return module


def test_the_size_is_within_its_limits(size, capsys):
    assert size.main() == 0
    assert "(a) a GLUE run, from the Snakefile to its cell" in capsys.readouterr().out


def test_more_lines_or_a_missing_file_are_a_failure(size, capsys, monkeypatch):
    monkeypatch.setattr(size, "lines", lambda names: 10**6)
    assert size.main() == 1
    assert "hra, workflow, rules: expected no more than the limit, found more." in capsys.readouterr().out


PATHS = yaml.safe_load((ROOT / ".ci/size.yaml").read_text())["paths"]
OF_CONFIG = {"settings", "hyperparameters", "inputs", "versions", "weights_sha256", "before", "metrics"}  # have names


def path(letter: str) -> list[str]:
    (listed,) = (files for name, files in PATHS.items() if name.startswith(f"({letter})"))
    return listed


def keys(content: dict) -> Iterator[str]:
    for name, value in content.items():
        yield name
        inner = value if isinstance(value, list) else [value]
        if name in OF_CONFIG:  # of the metrics, also the values
            inner = [one for some in inner if name == "metrics" for one in some.values()]
        for one in inner:
            if isinstance(one, dict):
                yield from keys(one)


def test_every_key_of_a_record_is_written_in_the_files_of_its_path(make_run):
    run = make_run(method("hra"))
    record = train(run)
    evaluate_glue.main(run.evaluate)
    written = {*re.findall(r'"(\w+)"', "".join((ROOT / name).read_text() for name in path("d")))}
    found = {*keys(record), *keys(files.read_json(run.evaluate["output"]["metrics"]))}
    assert {"made_from", "device_seconds", "stderr", "best_on_dev"} <= found <= written and len(path("d")) <= 8


spec = importlib.util.spec_from_file_location("prose", ROOT / ".ci/prose.py")
prose = importlib.util.module_from_spec(spec)
spec.loader.exec_module(prose)

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
YAML = """\
anew: anew  # anew
# A key of its own
"""


@pytest.mark.parametrize(
    "name, text, expected",
    [
        ("page.md", MARKDOWN, ["3:23 of its own", "4:58 anew"]),
        ("code.py", PYTHON, ["1:3 What", "3:30 anew", "4:44 came", "5:13 of its own"]),
        ("config.yaml", YAML, ["1:15 anew", "2:9 of its own"]),
    ],
)
def test_finds_words_in_prose_only(name, text, expected):
    found = [line.removeprefix(f"{name}:").split(": ", 1) for line in prose.findings(name, text)]
    words = [f"{place} {message.split('found ')[1].strip('“¶”.')}" for place, message in found]
    assert words == expected


@pytest.mark.parametrize(
    "sentence, found",
    [
        ("Wrong labels are an error.", "are an error"),
        ("The rows may have an error of 2 %; this is an error in the data.", ""),
        ("It ends. What it shows are the files.", "What"),
        ("The images are drawn from noise.", "images are drawn"),
        ("Samples are drawn from noise.", ""),
    ],
)
def test_words_are_found_where_they_are_wrong(sentence, found):
    lines = prose.findings("a.md", sentence)
    assert any(found in line for line in lines) if found else not lines


@pytest.fixture(scope="module")
def dead_links():
    spec = importlib.util.spec_from_file_location("dead_links", ROOT / "docs/dead_links.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_link(tmp_path, dead_links):
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
