"""The environment and the README of an archive, with the commands that make each number again."""

import importlib.metadata
import json
import platform
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

import hra
from hra_results import html_page
from hra_results.archives import contents
from hra_workflow import ROOT
from hra_workflow.core import files, installed, provenance

WORKFLOW = Path(ROOT, "workflow")
SCRIPTS = WORKFLOW / "scripts"
# Files of a distribution that differ between two installations of the same version.
LOCAL = {"INSTALLER", "REQUESTED", "RECORD", "direct_url.json"}


def project() -> dict:
    """Return the version of this project: `code` is a digest of the workflow's Python files."""
    commit, dirty = provenance.git_state()
    return {"version": hra.__version__, "commit": commit, "dirty": dirty, "code": installed.digest(WORKFLOW)}


def environment() -> dict:
    """Return the Python and the installed distributions with their versions and SHA-256.

    sha256: of the lines `sha256  path` of the installed files, without those of the installation; None if its
    installer has recorded no hashes. editable: whether it is a folder of source code.
    """
    found = {}
    for one in importlib.metadata.distributions():
        name = one.metadata["Name"]
        url = json.loads(one.read_text("direct_url.json") or "{}")
        listed = {
            str(file): file.hash.value
            for file in one.files or ()
            if file.hash and file.parts[0] != ".." and file.name not in LOCAL
        }
        editable = url.get("dir_info", {}).get("editable", False)
        digest = files.sha256_of_listing(listed) if listed and not editable else None
        found.setdefault(name, {"version": one.version, "sha256": digest} | ({"editable": True} if editable else {}))
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "distributions": dict(sorted(found.items(), key=lambda entry: entry[0].lower())),
    }


def commits(trained: Iterable[dict]) -> Counter:
    """Count the runs by the code that trained them."""
    return Counter(
        one["commit"] + " with uncommitted changes" * bool(one["dirty"]) if one["commit"] else "not a git checkout"
        for one in trained
    )


def listing(about: dict, runs: int, tables: list[str], replaced: Mapping, left_out: list[str]) -> dict[str, str]:
    """Return what the parts of an archive contain, for its README."""
    kept = "with adapters and generated images" if about["weights"] else "without adapters and generated images"
    return {
        "tables": ", ".join(f"`{table}`" for table in tables),
        "runs": f"{runs}, each with its record `train.json` (settings, versions, times, SHA-256 of its weights), "
        f"`metrics.json` and predictions; {kept}",
        f"`{contents.CONFIG}`": "the config as merged, for `--configfile`",
        f"`{contents.ENVIRONMENT}`": "the installed packages with versions and SHA-256, when the archive was made; the "
        "records have the main versions of each run",
        f"`{contents.ABOUT}`": "the jobs that make the tables from the records",
        f"`{contents.CRATE}`": "all jobs with inputs, outputs, params and times (Workflow Run Crate)",
        f"`{contents.CROISSANT}`": "the data of the tables: files with SHA-256, splits and licences (Croissant)",
        f"`{contents.REPLACED}`": f"values of the machine that were replaced, in {len(replaced)} files, and "
        f"{len(left_out)} files that were left out",
        f"`{contents.LIST}`": "SHA-256 of all files, for `sha256sum -c`",
    }


def readme(about: dict, trained: list[dict], metrics: list[str], replaced: Mapping, left_out: list[str]) -> str:
    """Return README.md. trained: the records of the runs; metrics: names of their results."""
    name, project = about["name"], about["project"]
    tables = [output for job in about["jobs"] for output in job["output"].values()]
    linked = [path for path in tables if path.endswith(".md") and PurePosixPath(path).name.startswith("table_")]
    last = max((one for one in trained if one["commit"]), key=lambda one: one["finished"], default={"commit": None})
    parts = {
        "title": "Results of all tables" if name == "all" else f"Results of table_{name}",
        "links": [(PurePosixPath(path).stem, path) for path in linked],
        "listing": listing(about, len(trained), tables, replaced, left_out),
        "version": f"{project['version']} ({project['commit'] or 'not a git checkout'})",
        "commits": commits(trained),
        "commit": last["commit"] or "COMMIT",
        "config": contents.CONFIG,
        "tables": [path for path in tables if path.endswith(".csv")],
        "metrics": sorted(metrics),
    }
    return html_page.template("archive_readme.md").render(parts)
