"""docs/your-own-code.md: every section with code is run by a test."""

import re
from pathlib import Path

from own_code import PAGE, sections
from support import ROOT


def test_a_test_runs_the_code_of_every_section():
    tests = "".join(path.read_text() for folder in ("hra", "tools") for path in (ROOT / "tests" / folder).glob("*.py"))
    run = re.findall(r'blocks\(\s*"([^"]+)"(?:, "(\w+)")?', tests)
    run = {(heading, language or "python") for heading, language in run}
    written = {
        (heading, language)
        for heading, text in sections().items()
        for language in re.findall(r"^```(\w+)", text, re.MULTILINE)
    }
    assert written == run
    folder = PAGE.parent / "recipes"
    recipes = {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")}
    assert not {name for name in recipes if Path(name).name not in tests and Path(name).stem not in tests}
