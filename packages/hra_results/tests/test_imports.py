"""The package imports only the modules of the workflow that docs/results-contract.md lists."""

import ast
import re
from pathlib import Path

import hra_results
from support import ROOT


def test_only_modules_of_the_results_contract_are_imported():
    page = (ROOT / "docs/results-contract.md").read_text().partition("## Python")[2]
    listed, found = {*re.findall(r"`([a-z_.]+)`", page)} | {""}, set()
    for path in Path(hra_results.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "hra_workflow":
                base = node.module.partition(".")[2]
                names = {f"{base}.{alias.name}".lstrip(".") for alias in node.names}
                found |= {
                    name if (ROOT / "workflow/hra_workflow" / f"{name.replace('.', '/')}.py").exists() else base
                    for name in names
                }
    assert len(found) > 10 and found <= listed, found - listed
