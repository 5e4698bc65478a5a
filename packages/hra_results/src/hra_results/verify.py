"""Check an archive of `hra-workflow archive`: its files and records, and its tables, which are made again.

It needs no Snakemake, and changes nothing: the tables are made in a temporary folder, by the scripts of the workflow's
folder that hra_workflow is installed from (`pip install -e`).
Exit status: 0 if all of this is right, 1 if all but the tables is, which could not be made again without that folder,
2 if something is wrong.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hra
from hra_results.archives import contents, descriptions
from hra_results.archives.contents import REMEDY
from hra_workflow.core import records
from hra_workflow.core.errors import JobError, expect

PARTLY = 1  # exit status
SCRIPTS = ("collect_trials", "collect_runs", "compare", "table", "table_retention", "table_compute")
RECORDS = (records.OF_RUN, "metrics.json", "retention.json")
LARGE = (".safetensors", ".tar", ".png", ".html")  # no table is made from these
MADE_AGAIN = Path(".made-again")


def verify(path: str | Path) -> dict:
    """Return what was checked; raise JobError, which names the file, if something is wrong.

    `missing` is empty, or why the tables were not made again.
    """
    archive = contents.Archive(path)
    with contextlib.closing(archive), tempfile.TemporaryDirectory() as folder:
        listed = archive.check()
        about = json.loads(archive.read(contents.ABOUT))
        check_version(path, about)
        for name in listed:
            if not name.endswith(LARGE):
                copy = Path(folder, name)
                archive.place(name, copy)
                if name.endswith(".gz"):
                    archive.check_packed(name, copy)
        with contextlib.chdir(folder):
            try:
                found = check_contents(listed)
                tables = [path for job in about["jobs"] for path in tables_of(job, listed)]
                missing = without_scripts(about["project"])
                if not missing:
                    with ThreadPoolExecutor(os.cpu_count()) as pool:
                        [*pool.map(make_again, about["jobs"], range(len(about["jobs"])))]
            except JobError as problem:
                raise JobError(f"{path}: {problem}{other_code(about['project'])}") from None
        digest = archive.digest(contents.LIST)
    return found | {"files": len(listed), "tables": len(tables), "sha256": digest, "missing": missing}


def check_version(path: str | Path, about: dict) -> None:
    made = about["project"]
    expect(
        (about["format"], made["version"]) == (contents.FORMAT, hra.__version__),
        f"{path}: expected an archive of version {hra.__version__} of this project, format {contents.FORMAT}, found "
        f"version {made['version']}, format {about['format']}. Verify it with that version{of_commit(made)}.",
    )


def of_commit(project: dict) -> str:
    return f" (git checkout {project['commit']}, make install)" if project["commit"] else ""


def other_code(project: dict) -> str:
    """Return a sentence if the archive was made with other code than is installed here."""
    if without_scripts(project) or project["code"] == descriptions.project()["code"]:
        return ""
    return f" The archive was made with other code than this; verify it with the same{of_commit(project)}."


def check_contents(listed: dict[str, str]) -> dict[str, int]:
    """Check the records, with the SHA-256 of weights in them; return their number.

    A file that an archive lacks, such as weights with --no-weights, is not compared.
    """
    made = [name for name in listed if Path(name).name in RECORDS]
    for name in made:
        check_listed(name, records.read(name, REMEDY).get("weights_sha256", {}), listed)
    return {"records": len(made)}


def check_listed(name: str, stated: dict[str, str], listed: dict[str, str]) -> None:
    """Raise JobError if a file of the archive has another SHA-256 than the file `name` states for it."""
    for path, digest in stated.items():
        file = os.path.normpath(Path(name).parent / path)
        found = listed.get(file, digest)
        expect(found == digest, f"{file}: expected SHA-256 {digest}, as in {name}, found {found}. {REMEDY}")


def without_scripts(project: dict) -> str:
    """Return why no table can be made here; empty if it can."""
    if descriptions.SCRIPTS.is_dir():
        return ""
    return (
        f"expected the scripts that make tables, found no {descriptions.SCRIPTS}. Verify the archive in a clone of the "
        f"project{of_commit(project)}."
    )


def tables_of(job: dict, listed: dict[str, str]) -> list[str]:
    """Return the outputs of a job that makes tables; raise JobError if it names other scripts or files."""
    script = job["script"]
    expect(script in SCRIPTS, f"{contents.ABOUT}: expected one of {', '.join(SCRIPTS)}, found {script}. {REMEDY}")
    given = [path for paths in job["input"].values() for path in ([paths] if isinstance(paths, str) else paths)]
    for path in [*given, *job["output"].values()]:
        expect(path in listed, f"{contents.ABOUT}: expected files of the archive, found {path}. {REMEDY}")
    return list(job["output"].values())


def make_again(job: dict, number: int) -> None:
    """Run a job on the archived files; raise JobError unless its outputs are the archived ones."""
    outputs = {name: str(MADE_AGAIN / path) for name, path in job["output"].items()}
    file = Path(f"{MADE_AGAIN}-{number}.json")
    file.write_text(json.dumps(job | {"output": outputs, "resources": {}, "threads": 1, "log": ""}))
    command = [sys.executable, str(descriptions.SCRIPTS / f"{job['script']}.py"), str(file)]
    same = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | same)
    if done.returncode:
        raise JobError(done.stderr.strip().splitlines()[-1].removeprefix("JobError: "))
    for path in job["output"].values():
        expect(
            Path(path).read_bytes() == (MADE_AGAIN / path).read_bytes(),
            f"{path}: expected the table that {job['script']}.py makes from the archived records, found another. It "
            "was edited, or made by other code. In your results, delete it and run again (hra-workflow run).",
        )


def summary(found: dict) -> str:
    made = "were not made again" if found["missing"] else "made again from the records, are byte-identical"
    return (
        f"{found['files']} files and {found['records']} records are intact; "
        f"{found['tables']} tables{'' if found['missing'] else ','} {made}.\n"
        f"SHA-256 of {contents.LIST}: {found['sha256']}"
    )


def run(archive: str) -> int:
    """Check an archive and print what was checked; return the exit status. Raise JobError if something is wrong."""
    found = verify(archive)
    print(summary(found))
    if found["missing"]:
        print(f"not verified: the tables: {found['missing']}")
    return PARTLY if found["missing"] else 0
