import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / ".ci/prose.py"
spec = importlib.util.spec_from_file_location("prose", PATH)
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
        ("rules.smk", PYTHON, ["1:3 What", "3:30 anew", "4:44 came", "5:13 of its own"]),
        ("config.yaml", YAML, ["1:15 anew", "2:9 of its own"]),
        ("Makefile", "anew: ## make anew\n\techo anew\n", ["1:15 anew"]),
        ("schema.json", '{"anew": {"description": "made anew here"}}', ["1:32 anew"]),
        ("empty.py", "", []),
    ],
)
def test_finds_words_in_prose_only(name, text, expected):
    found = [line.removeprefix(f"{name}:").split(": ", 1) for line in prose.findings(name, text)]
    words = [f"{place} {message.split('found ')[1].strip('“¶”.')}" for place, message in found]
    assert words == expected


def test_a_finding_says_what_to_write():
    assert prose.findings("a.md", "Train anew.") == ["a.md:1:7: expected “again”, found “anew”."]


@pytest.mark.parametrize(
    "sentence, found",
    [
        ("Wrong labels are an error.", "are an error"),
        ("The rows may have an error of 2 %; this is an error in the data.", ""),
        ("It ends. What it shows are the files.", "What"),
        ("It ends. What does it show? See below.", ""),
        ("The head alone, without its rate.", "alone"),
        ("The config says which.", "config says"),
        ("The images are drawn from noise.", "images are drawn"),
        ("Samples are drawn from noise.", ""),
        ("It uses 9 seconds a run.", "9 seconds a run"),
        ("A foreign key names pictures-sd.", ""),
        ("Another value repeats the training.", "Another value repeats"),
        ("Both are a very unique success.", "very unique"),
    ],
)
def test_words_are_found_where_they_are_wrong(sentence, found):
    lines = prose.findings("a.md", sentence)
    assert any(found in line for line in lines) if found else not lines
