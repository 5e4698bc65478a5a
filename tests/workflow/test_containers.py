"""The recipes of the images: the same steps for Docker and Apptainer, and those that need no image are run."""

import re
import shlex

from support import ROOT


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


def test_both_recipes_have_the_same_steps_and_copy_what_exists():
    docker, apptainer = dockerfile(), definition()
    copied = {}
    for *sources, target in docker["COPY"]:
        copied |= {one: f"{target}{one}" if target.endswith("/") else target for one in sources}
    assert f"From: {docker['FROM'][0][0]}" in apptainer[""]
    assert copied == dict(line.split() for line in apptainer["files"])
    assert docker["RUN"] == [shlex.split(line) for line in apptainer["post"]] == [["sh", "/opt/hra/envs/install.sh"]]
    assert apptainer["environment"] == [f"export {' '.join(docker['ENV'][0])}"]
    # What the rules and `make install` read is in the image.
    needed = {"Snakefile", "Makefile", "rules", "profiles", "envs", "workflow", "config", "hra"}
    assert needed <= {path.split("/")[0] for path in copied if (ROOT / path).exists()}
