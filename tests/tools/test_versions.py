"""The versions in the tools' environments are in the range of which `hra.install()` does not warn."""

import re
import subprocess

import pytest

from support import ROOT

TOOLS = re.search(r"^TOOLS := (.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()


@pytest.mark.full
@pytest.mark.parametrize("tool", TOOLS, indirect=True)
def test_install_does_not_warn_in_a_tool_s_environment(tool):
    done = subprocess.run([tool, "-c", "import hra; hra.install()"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "not tested with" not in done.stderr


def test_every_tool_runs_nightly():
    nightly = (ROOT / ".github/workflows/nightly.yml").read_text()
    assert re.findall(r"target: tools-tests, tool: (\S+)}", nightly) == TOOLS
