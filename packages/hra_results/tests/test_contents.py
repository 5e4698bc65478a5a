"""results/contents.json: what the config specifies about the results, for programs that only read them."""

import ast
import re
from pathlib import Path

from yaml import safe_load

import hra_results
import results_contract
from hra_results import described
from hra_workflow import tasks
from hra_workflow.config import overlays
from hra_workflow.core import files
from support import ROOT, paper_config


def written(tmp_path: Path, task: str) -> dict:
    """Write the contents of the paper's config for a task with results in tmp_path, and read them."""
    config = paper_config()
    config["pathvars"] |= {"results": str(tmp_path)}
    (tmp_path / f"table_{task}.csv").touch()
    folder = described.write(config, [tasks.load(config)[task]])
    return files.read_json(folder / described.NAME)


def test_the_runs_and_their_files_are_named(tmp_path):
    glue = written(tmp_path, "glue")["tasks"]["glue"]
    assert glue["runs"] == str(tmp_path / "runs_glue.csv") and str(tmp_path / "table_glue.csv") in glue["tables"]
    assert len(glue["expected"]) == len(tasks.load(paper_config())["glue"].runs())
    run = next(one for one in glue["expected"] if one["dataset"] == "cola")
    assert run["folder"].startswith(f"{tmp_path}/glue/cola/") and run["folder"].endswith(f"/seed{run['seed']}")
    assert run["benchmarks"].keys() == set(glue["datasets"]["cola"]["benchmarks"])
    assert all(path.endswith(".error.json") for path in run["errors"])
    assert glue["titles"]["best_on_dev"] == "Best on dev" and glue["selection"] in glue["titles"]


def test_they_fit_the_contract(tmp_path):
    assert list(results_contract.refused("contents", [written(tmp_path, task) for task in ("math", "subject")])) == []


def test_the_changes_merged_over_the_papers_config_are_the_config():
    config, changes = paper_config(), described.changes
    assert changes(config) == ""
    for name in ("config", "quick"):
        config = overlays.merged(config, overlays.read(ROOT / f"config/demo/{name}.yaml"))
    assert overlays.merged(paper_config(), safe_load(changes(config))) == config
    config["note"] = "https://me:secret@mirror.example/data"
    assert safe_load(changes(config))["note"] == "https://mirror.example/data"
    del config["tasks"]["math"]
    assert safe_load(changes(config))["tasks"]["math"] is None


def test_only_modules_of_the_results_contract_are_imported():
    page = (ROOT / "docs/results.md").read_text().partition("## Python")[2]
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
