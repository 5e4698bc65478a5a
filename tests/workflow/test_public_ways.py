"""snakemake_bridge and the rules only read Snakemake, by public names; the rest of the package does not see it."""

import ast
import re

from support import ROOT

PACKAGE = ROOT / "workflow/hra_workflow"
BRIDGE = sorted((PACKAGE / "snakemake_bridge").glob("*.py"))
RULES = [ROOT / "Snakefile", *sorted((ROOT / "rules").rglob("*.smk"))]
CHANGING = "add|append|clear|discard|extend|insert|pop|remove|setdefault|update"
GIVEN = r"(?<![\w.\"'])(workflow|dag|job|rule|settings|modifier|snakemake)"  # what is Snakemake's
PART = r"(\.\w+|\[[^]]*\])"
WRONG = re.compile(
    rf"{GIVEN}{PART}*?({PART}\s*[-+|]?=(?!=)|\._(?!_)\w+)|{GIVEN}{PART}+\.({CHANGING})\(|\b(setattr|delattr)\("
)
ALLOWED = "workflow.pathvars.update("  # of a module whose `config:` makes Snakemake skip `configfile:`
PATCHES = [
    "workflow._onstart = print",
    "setattr(workflow, name, print)",
    "workflow.dag.forcefiles.add(output)",
    "workflow.global_resources['gpu'] = 2",
    "settings.apptainer_args += ' --bind /opt'",
]


def test_rules_and_bridge_change_nothing_of_snakemake():
    for path in (*BRIDGE, *RULES):
        lines = [line for line in path.read_text().replace(ALLOWED, "").splitlines() if WRONG.search(line)]
        assert lines == [], path
    assert all(map(WRONG.search, PATCHES))


def test_nothing_else_is_given_the_workflow():
    for path in {*PACKAGE.rglob("*.py")} - {*BRIDGE}:
        nodes = [*ast.walk(ast.parse(path.read_text()))]
        names = {node.id for node in nodes if isinstance(node, ast.Name)}
        assert "workflow" not in names | {node.arg for node in nodes if isinstance(node, ast.arg)}, path
