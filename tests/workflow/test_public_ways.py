"""snakemake_bridge and the rules only read Snakemake, by public names; the rest of the package does not see it."""

import ast
import re
from pathlib import Path

import pytest

from support import ROOT

PACKAGE = ROOT / "workflow/hra_workflow"
BRIDGE = sorted((PACKAGE / "snakemake_bridge").glob("*.py"))
OTHERS = sorted(set(PACKAGE.rglob("*.py")) - set(BRIDGE))
RULES = [ROOT / "Snakefile", *sorted((ROOT / "rules").rglob("*.smk"))]
GIVEN = {"workflow", "dag", "job", "rule", "snakemake"}  # parameters and loop variables that are Snakemake's
CHANGING = {"add", "append", "clear", "discard", "extend", "insert", "pop", "remove", "setdefault", "update"}
ALLOWED = ["workflow.pathvars.update"]  # of a module whose `config:` makes Snakemake skip `configfile:`
# A rule file is not Python; what it may not contain is one line: an assignment, a private name, a change in place.
IN_RULES = (
    rf"workflow(\.\w+)*(\.(?!_)\w+\s*[-+|]?=(?!=)|\._\w+|\[[^]]*\]\s*=(?!=)|\.({'|'.join(CHANGING)})\()|setattr\("
)


def chain(node: ast.AST) -> list[str]:
    """Return the names of an expression such as workflow.dag.jobs[0].add(…); [] if it begins with anything else."""
    match node:
        case ast.Name():
            return [node.id]
        case ast.Attribute():
            return [*below, node.attr] if (below := chain(node.value)) else []
        case ast.Subscript(value=value) | ast.Call(func=value) | ast.Starred(value=value):
            return chain(value)
    return []


def names(target: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(target) if isinstance(node, ast.Name)}


def of_snakemake(tree: ast.AST) -> set[str]:
    """Return the names of a module that refer to objects and classes of Snakemake, and what is taken from them."""
    known = set(GIVEN)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "snakemake":
            known |= {alias.asname or alias.name for alias in node.names}
    while True:
        before = len(known)
        for node in ast.walk(tree):
            match node:
                case ast.Assign(targets=[target], value=ast.Attribute() as value):
                    pass
                case ast.For(target=target, iter=value) | ast.comprehension(target=target, iter=value):
                    pass
                case _:
                    continue
            if chain(value)[:1] and chain(value)[0] in known:
                known |= names(target)
        if len(known) == before:
            return known


def violations(source: str) -> list[str]:
    tree = ast.parse(source)
    known, found = of_snakemake(tree), []
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(ctx=ast.Store() | ast.Del()) | ast.Subscript(ctx=ast.Store() | ast.Del()):
                wrong = chain(node)[:1] and chain(node)[0] in known
            case ast.Attribute(attr=name):
                wrong = chain(node)[:1] and chain(node)[0] in known and re.match("_(?!_)", name)
            case ast.Call(func=ast.Attribute(attr=name) as called) if name in CHANGING:
                wrong = len(chain(called)) > 2 and chain(called)[0] in known
                wrong = wrong and ".".join(chain(called)) not in ALLOWED
            case ast.Call(func=ast.Name(id="setattr" | "delattr")):
                wrong = True
            case _:
                continue
        found += [ast.unparse(node)] * bool(wrong)
    return found


@pytest.mark.parametrize("path", BRIDGE, ids=lambda path: path.stem)
def test_the_room_snake_changes_nothing_of_snakemake(path):
    assert violations(path.read_text()) == []


def test_rules_change_nothing_of_snakemake():
    found = {path.name: [line for line in path.read_text().splitlines() if re.search(IN_RULES, line)] for path in RULES}
    assert not any(found.values()), found


def test_nothing_else_is_given_the_workflow():
    given = [path for path in OTHERS if "workflow" in (names(tree := parsed(path)) | arguments(tree))]
    assert given == []


def parsed(path: Path) -> ast.AST:
    return ast.parse(path.read_text())


def arguments(tree: ast.AST) -> set[str]:
    return {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}


PATCHES = [
    "from snakemake.jobs import Job\nJob.restart_times = property(len)",
    "workflow._onstart = print",
    "first = workflow._hra",
    "setattr(workflow, f'_{name}', print)",
    "workflow.dag.forcefiles.add(output)",
    "workflow.global_resources['gpu'] = 2",
    "for rule in workflow.rules:\n    rule.resources['gpu'] = 1",
    "settings = workflow.deployment_settings\nsettings.apptainer_args += ' --bind /opt'",
]


@pytest.mark.parametrize("patch", PATCHES)
def test_the_patches_of_old_are_seen(patch):
    assert violations(patch)
    if patch.startswith(("workflow", "first", "setattr")):
        assert re.search(IN_RULES, patch)
