"""docs/upstream.md: every block is run against the installed PEFT."""

import re
from functools import cache
from pathlib import Path

import peft
import pytest
from peft.tuners.boft import layer as boft
from torch.utils import cpp_extension

import hra

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs/upstream.md").read_text()
START, *_ = re.findall(r"```python\n(.*?)```", PAGE, re.S)
SECTIONS = {
    title: re.findall(r"```python\n(.*?)```", text, re.S)
    for title, text in re.findall(r"^### (.*?)\n(.*?)(?=^##|\Z)", PAGE, re.S | re.M)
}
DEFECTS = [title for title in SECTIONS if title[0].isdigit()]
REPAIRED = re.search(r"it repairs defects ([\d, ]+)\.", PAGE)[1].split(", ")  # by the rewrite that no release has
FAILURES = (AssertionError, SystemExit, ValueError)


def run(title: str) -> None:
    names = {}
    exec(START, names)
    if title in ("Thin convolution", "Merging as an update of rank r"):
        exec(*SECTIONS["Compact form"], names)
    for block in SECTIONS[title]:
        exec(block, names)


@cache
def rewritten() -> bool:
    """Return whether PEFT's own layers multiply no (n, n) matrices, as those of pull request 3185."""
    try:
        run("16. A forward pass takes more than 2n³ operations per adapter, whatever the batch")
    except AssertionError:
        return True
    return False


@pytest.mark.parametrize("title", SECTIONS)
@pytest.mark.filterwarnings("ignore:(Failed to load the CUDA|Setting boft_n_butterfly)")
def test_the_block_describes_the_installed_peft(title, monkeypatch):
    def load(**options):
        raise OSError("no compiler")

    monkeypatch.setattr(cpp_extension, "load", load)
    monkeypatch.setattr(boft, "_FBD_CUDA", None)  # tests of the workflow replace it
    hra.uninstall()
    try:
        run(title)
    except (*FAILURES, RuntimeError):
        if not rewritten():
            raise
        if title.partition(".")[0] not in REPAIRED:
            pytest.xfail(f"not so in PEFT {peft.__version__}")
    else:
        assert not (rewritten() and title.partition(".")[0] in REPAIRED)


@pytest.mark.parametrize("title", DEFECTS)
def test_the_defect_does_not_exist_here(title):
    with pytest.raises(FAILURES):
        run(title)


def test_the_page_is_complete_and_names_tests_that_exist():
    assert [int(title.partition(".")[0]) for title in DEFECTS] == list(range(1, 19))
    files = {path.name: path.read_text() for path in TESTS.rglob("*.py")}
    named = re.findall(r"`(\w+\.py)::(\w+)`", PAGE)
    assert len(named) > len(SECTIONS)
    assert not [(file, name) for file, name in named if f"def {name}(" not in files[file]]
