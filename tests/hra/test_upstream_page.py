"""tests/hra/upstream.md: every block is run against the installed PEFT."""

import re
from functools import cache
from pathlib import Path

import pytest
from peft.tuners.boft import layer as boft
from torch.utils import cpp_extension

import hra

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "tests/hra/upstream.md").read_text()
START, *_ = re.findall(r"```python\n(.*?)```", PAGE, re.S)
SECTIONS, CHAPTERS = {}, {}
for chapter in re.split(r"^## ", PAGE, flags=re.M)[1:]:
    found = re.findall(r"^### (.*?)\n(.*?)(?=^###|\Z)", chapter, re.S | re.M)
    found = {title: re.findall(r"```python\n(.*?)```", text, re.S) for title, text in found}
    paragraphs = re.findall(r"^# (\d[^\n]*)\n(.*?)(?=^# \d|^```)", chapter, re.S | re.M)  # of a block
    found |= {title: [text] for title, text in paragraphs}
    SECTIONS |= found
    CHAPTERS[chapter.partition("\n")[0]] = list(found)
FORMULAS, DEFECTS, BRANCH = (CHAPTERS[name] for name in ("Formulas", "Defects", "Pull request 3185"))
REPAIRED = re.search(r"it repairs defects ([\d, ]+)\. It repairs in part defects ([\d, ]+);", PAGE).groups()
REPAIRED = ", ".join(REPAIRED).split(", ")  # at least in part, by the pull request
FAILURES = (AssertionError, SystemExit, ValueError)


def run(title: str) -> None:
    names = {}
    exec(START, names)
    if title in FORMULAS[1:]:
        exec(*SECTIONS["Compact form"], names)
    for block in SECTIONS[title]:
        exec(block, names)


@cache
def rewritten() -> bool:
    """Return whether PEFT's own layers multiply no (n, n) matrices, as those of pull request 3185."""
    try:
        run("16. A forward pass takes more than 2n³ operations per adapter, whatever the batch.")
    except AssertionError:
        return True
    return False


def describes_the_installed_peft(title: str) -> bool:
    """Return whether the page says that a block holds for the installed PEFT, a release or a pull request."""
    if title.startswith("BOFT"):
        return hasattr(boft, "_FBD_CUDA")  # not in pull request 3540
    return not (rewritten() and (title in FORMULAS or title.partition(".")[0] in REPAIRED))


@pytest.mark.parametrize("title", SECTIONS)
@pytest.mark.filterwarnings("ignore:(Failed to load the CUDA|Setting boft_n_butterfly)")
def test_the_block_describes_the_installed_peft(title, monkeypatch):
    def load(**options):
        raise OSError("no compiler")

    monkeypatch.setattr(cpp_extension, "load", load)
    if hasattr(boft, "_FBD_CUDA"):
        monkeypatch.setattr(boft, "_FBD_CUDA", None)  # tests of the workflow replace it
    hra.uninstall()
    if title in BRANCH and not rewritten():
        pytest.skip("not run: about PEFT's pull request 3185, which is not installed")
    if describes_the_installed_peft(title):
        run(title)
    else:
        with pytest.raises((*FAILURES, RuntimeError)):
            run(title)


@pytest.mark.parametrize("title", DEFECTS + BRANCH)
def test_the_defect_does_not_exist_here(title):
    with pytest.raises(FAILURES):
        run(title)


def test_the_page_is_complete_and_names_tests_that_exist():
    assert [int(title.partition(".")[0]) for title in DEFECTS] == list(range(1, 20))
    files = {path.name: path.read_text() for path in TESTS.rglob("*.py")}
    named = re.findall(r"\b(\w+\.py)::(\w+)", PAGE)
    assert len(named) > len(SECTIONS)
    assert not [(file, name) for file, name in named if f"def {name}(" not in files[file]]
