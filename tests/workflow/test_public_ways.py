"""snakemake_bridge and the rules only read Snakemake, by public names."""

import re

from support import ROOT

BRIDGE = sorted((ROOT / "workflow/hra_workflow/snakemake_bridge").glob("*.py"))
RULES = [ROOT / "Snakefile", *sorted((ROOT / "rules").rglob("*.smk"))]
CHANGING = "add|append|clear|discard|extend|insert|pop|remove|setdefault|update"
GIVEN = r"(?<![\w.\"'])(workflow|dag|job|rule|settings|modifier|snakemake)"  # what is Snakemake's
PART = r"(\.\w+|\[[^]]*\])"
WRONG = re.compile(
    rf"{GIVEN}{PART}*?({PART}\s*[-+|]?=(?!=)|\._(?!_)\w+)|{GIVEN}{PART}+\.({CHANGING})\(|\b(setattr|delattr)\("
)
ALLOWED = "workflow.pathvars.update("  # of a module whose `config:` makes Snakemake skip `configfile:`


def test_rules_and_bridge_change_nothing_of_snakemake():
    for path in (*BRIDGE, *RULES):
        lines = [line for line in path.read_text().replace(ALLOWED, "").splitlines() if WRONG.search(line)]
        assert lines == [], path
    assert WRONG.search("workflow._onstart = print") and WRONG.search("workflow.dag.forcefiles.add(output)")
