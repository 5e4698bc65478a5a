"""One installation, used from other folders: with -s, --directory, as a module or a release."""

import os
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from snakemake.settings import types

from hra_workflow.core import installed
from hra_workflow.core.errors import JobError
from hra_workflow.snakemake_bridge import deployment
from project import Project
from support import ROOT

MODULE = """
configfile: "small.yaml"

module hra:
    snakefile: {snakefile}
    config: config
    {more}

use rule * from hra{renamed}
"""


@pytest.fixture
def user(fresh, tmp_path) -> Project:
    """Provide a folder that has nothing but a config of its own."""
    folder = tmp_path / "user"
    folder.mkdir()
    shutil.copy(fresh.folder / "small.yaml", folder)
    return Project(folder)


def use_module(user: Project, fresh: Project, snakefile: str = "", more: str = "", renamed: str = "") -> None:
    snakefile = snakefile or repr(f"{fresh.folder}/Snakefile")
    (user.folder / "Snakefile").write_text(MODULE.format(snakefile=snakefile, more=more, renamed=renamed))


def test_a_python_whose_path_has_a_space_is_refused(monkeypatch):
    deployment.check_python()
    monkeypatch.setattr("sys.executable", "/my projects/hra/.venv/bin/python")
    with pytest.raises(JobError, match=r"found /my projects/hra/.venv/bin/python.*make install VENV="):
        deployment.check_python()


def test_as_a_module(fresh, user):
    """As with the path of the Snakefile, which writes nothing to the installation."""
    before = contents(fresh.folder)
    expected = user.plan(extra=("-s", f"{fresh.folder}/Snakefile"))
    assert contents(fresh.folder) == before and len(expected["train_glue"]) == 8
    assert {path.name for path in user.folder.iterdir()} <= {"small.yaml", ".snakemake"}
    use_module(user, fresh, more="pathvars: results='mine'")
    assert user.plan("mine/table_glue.csv") == expected
    assert "table_glue: " in user.printed  # the cost estimate
    # Snakemake reads the profile of the main folder, which has none.
    assert f"--workflow-profile {fresh.folder}/profiles/default" in user.printed


@pytest.mark.slow
def test_a_module_with_a_part_of_the_config_sees_what_commands_request(fresh, user):
    use_module(user, fresh)
    user.change("Snakefile", "config: config", 'config: config["hra"]')
    config = user.folder / "small.yaml"
    config.write_text(yaml.safe_dump({"hra": yaml.safe_load(config.read_text()), "mine": 1}))
    request = "request={run: results/glue/cola/hra/r8/seed0, command: export}"
    output = user.snakemake("-n", "--config", request, "--", "export", ok=False)
    assert "--run results/glue/cola/hra/r8/seed0: expected the folder of a finished run" in output


@pytest.mark.slow
def test_as_a_release_on_github(fresh, user, tmp_path, monkeypatch):
    """Let git find github.com in a local folder."""
    repository = tmp_path / "github/someone/hra"
    shutil.copytree(fresh.folder, repository, symlinks=True)
    for command in ("init -q", "add -A", "-c user.name=a -c user.email=a@example.com commit -q -m release", "tag v1.0"):
        subprocess.run(["git", *command.split()], cwd=repository, check=True)
    for name, value in {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{tmp_path}/github/.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    use_module(user, fresh, 'github("someone/hra", path="workflow/Snakefile", tag="v1.0")')
    assert len(user.plan()["train_glue"]) == 8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("statement", "message"),
    [({"more": "prefix: 'x'"}, "`prefix` and `replace_prefix`"), ({"renamed": " as hra_*"}, "rules keep their names")],
)
def test_a_module_that_renames_is_an_error(fresh, user, statement, message):
    use_module(user, fresh, **statement)
    assert message in user.snakemake("-n", ok=False)


@pytest.mark.slow
def test_an_edited_copy_of_the_workflows_config_is_an_error(fresh, user):
    """Test what `snakedeploy deploy-workflow` leaves: all of config/, of which config.yaml is read."""
    shutil.copytree(fresh.folder / "config", user.folder / "config")
    use_module(user, fresh)
    user.snakemake("-n", "-q", "rules")
    user.change("config/glue/task.yaml", "model: deberta-v3-base", "model: mine")
    assert "config/glue/task.yaml differs from" in user.snakemake("-n", ok=False)


def test_apptainer_needs_an_image_and_sees_the_installation(monkeypatch):
    monkeypatch.setenv("APPTAINER_BIND", "/data")
    monkeypatch.delenv("SINGULARITY_BIND", raising=False)
    workflow = SimpleNamespace(deployment_settings=types.DeploymentSettings())
    deployment.enter_container(workflow, None, Path("/opt/hra"))
    assert os.environ["APPTAINER_BIND"] == "/data"
    if hasattr(types, "DeploymentMethod"):
        workflow.deployment_settings.deployment_method = {types.DeploymentMethod.APPTAINER}
    else:  # snakemake#3339
        workflow.deployment_settings.deployment_methods = {"container"}
    with pytest.raises(JobError, match="expected an image, found none"):
        deployment.enter_container(workflow, None, Path("/opt/hra"))
    for _ in range(2):  # the Snakemake of a cluster's job inherits them
        deployment.enter_container(workflow, "/images/hra.sif", Path("/opt/hra"))
    assert (os.environ["APPTAINER_BIND"], os.environ["SINGULARITY_BIND"]) == ("/data,/opt/hra", "/opt/hra")


def test_the_package_is_that_of_the_workflow_or_a_copy(tmp_path):
    installed.check(ROOT)
    installed.check(tmp_path)  # a script of the user's own, without a package next to it
    package = tmp_path / "workflow/hra_workflow"
    shutil.copytree(ROOT / "workflow/hra_workflow", package, ignore=shutil.ignore_patterns("__pycache__"))
    installed.check(tmp_path)
    with (package / "methods/__init__.py").open("a") as file:
        file.write("# another version\n")
    with pytest.raises(JobError) as problem:
        installed.check(tmp_path)
    for text in (package, ROOT / "workflow/hra_workflow", f"pip install -e {tmp_path} -e {tmp_path}/workflow"):
        assert str(text) in str(problem.value)


@pytest.mark.slow
def test_a_missing_package_is_an_error_with_its_remedy(fresh):
    blocked = "import sys; sys.modules['hra_workflow'] = None; from snakemake.cli import main; main(sys.argv[1:])"
    output = fresh.snakemake("-n", ok=False, program=("-c", blocked))
    assert "expected the package hra_workflow, found none" in output
    assert f"pip install -e {fresh.folder} -e {fresh.folder}/workflow" in output


def contents(folder: Path) -> dict[str, int]:
    """Return the time of modification of every file, except Snakemake's and Python's own."""
    kept = [path for path in folder.rglob("*") if not {".snakemake", "__pycache__"} & set(path.parts)]
    return {str(path): path.lstat().st_mtime_ns for path in kept}
