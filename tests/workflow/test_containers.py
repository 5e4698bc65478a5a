"""The recipes of the images: the same steps for Docker and Apptainer, and those that need no image are run."""

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from support import ROOT

INSTALL = (ROOT / "envs/install.sh").read_text()


def dockerfile() -> dict[str, list]:
    """Return the arguments of the instructions, by name."""
    steps: dict[str, list] = {}
    for line in (ROOT / "envs/Dockerfile").read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, rest = line.partition(" ")
            steps.setdefault(name, []).append(shlex.split(rest))
    return steps


def definition() -> dict[str, list[str]]:
    """Return the lines of every section of hra.def; those of its header under an empty name."""
    parts = re.split(r"^%(\w+)$", (ROOT / "envs/hra.def").read_text(), flags=re.MULTILINE)
    sections = zip(["", *parts[1::2]], parts[::2], strict=True)
    return {name: [line.strip() for line in text.splitlines() if line.strip()] for name, text in sections}


def copied() -> dict[str, str]:
    """Return where the image has each copied path of the repository."""
    found = {}
    for *sources, target in dockerfile()["COPY"]:
        found |= {one: f"{target}{one}" if target.endswith("/") else target for one in sources}
    return found


def test_both_recipes_have_the_same_steps_and_copy_what_exists():
    docker, apptainer = dockerfile(), definition()
    assert f"From: {docker['FROM'][0][0]}" in apptainer[""]
    assert copied() == dict(line.split() for line in apptainer["files"])
    assert docker["RUN"] == [shlex.split(line) for line in apptainer["post"]] == [["sh", "/opt/hra/envs/install.sh"]]
    assert apptainer["environment"] == [f"export {' '.join(docker['ENV'][0])}"]
    assert all((ROOT / path).exists() for path in copied())
    # What the rules and `make install` read is in the image.
    for needed in ("Snakefile", "Makefile", "rules/train.smk", "profiles/default/config.yaml", "envs/lock.txt"):
        assert any(needed == path or needed.startswith(f"{path}/") for path in copied()), needed


def test_the_script_of_the_recipes_is_valid_and_the_codespace_installs():
    subprocess.run(["sh", "-n", ROOT / "envs/install.sh"], check=True)
    codespace = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    assert codespace["onCreateCommand"].endswith("make install")
    assert codespace["image"].partition("python:")[2].startswith("3.11")


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_the_steps_that_need_no_image_run(tmp_path):
    """Copy what the recipes copy, install as they do, and run the test of the Apptainer image and a dry run."""
    for path, target in copied().items():
        place = tmp_path / target.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / path).is_dir() else shutil.copy
        copy(ROOT / path, place)
    environment = {"HOME": os.environ["HOME"], "PATH": f"{tmp_path}/opt/venv/bin:{os.environ['PATH']}"}

    def run(command: str, folder: Path = tmp_path) -> str:
        command = command.replace("/opt/", f"{tmp_path}/opt/")
        return subprocess.check_output(command, shell=True, cwd=folder, env=environment, text=True)

    (install,) = re.findall(r"^PIP_NO_CACHE_DIR=1 (make .*)$", INSTALL, re.MULTILINE)
    run(install)
    for command in definition()["test"]:
        run(command)
    (project := tmp_path / "project").mkdir()
    plan = "snakemake -s /opt/hra/Snakefile --workflow-profile /opt/hra/profiles/default -n -q rules -- "
    assert "train_glue" in run(plan + "results/table_glue.csv", project)
