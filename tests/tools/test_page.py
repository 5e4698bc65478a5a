"""docs/your-own-code.md: every section with code is run by a test."""

import re

from own_code import sections
from support import ROOT


def test_a_test_runs_the_code_of_every_section():
    tests = "".join(path.read_text() for folder in ("hra", "tools") for path in (ROOT / "tests" / folder).glob("*.py"))
    run = set(re.findall(r'blocks\(\s*"([^"]+)"', tests))
    with_code = {
        heading for heading, text in sections().items() if re.search(r"^```(?:python|bash|yaml)", text, re.MULTILINE)
    }
    assert with_code - run == set()
