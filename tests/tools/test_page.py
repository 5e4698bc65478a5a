"""docs/your-own-code.md: every section with code is run by a test."""

import re

from own_code import sections
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
