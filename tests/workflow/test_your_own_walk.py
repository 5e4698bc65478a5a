"""docs/your-own.md as it stands: its files are written and its commands run, up to a prediction and an export."""

import csv
import re
import subprocess
import sys

import pytest

from project import environment
from support import ROOT

FIRST_PART = (ROOT / "docs/your-own.md").read_text().partition("## The demo's models")[0]
# The file that a block shows, if its name precedes it; its language; its text.
BLOCK = re.compile(r"(?:`(\S+)`:\n\n)?```(\w+)\n(.*?)```", re.DOTALL)
TUNE = re.DOTALL | re.MULTILINE
# The test's own environment is used as it is.
MAKE = f'make() {{ command make -f {ROOT}/Makefile VENV={sys.prefix} -o {sys.prefix}/.installed "$@"; }}; set -e\n'


@pytest.mark.full
@pytest.mark.timeout(1500)
def test_from_the_first_file_to_a_prediction(tmp_path):
    printed = ""
    for file, language, text in BLOCK.findall(FIRST_PART):
        if file:
            (tmp_path / file).write_text(text)
        elif language == "bash":
            done = subprocess.run(
                ["bash", "-c", MAKE + text],
                cwd=tmp_path,
                env=environment(tmp_path),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            assert done.returncode == 0, done.stdout
            printed = done.stdout
            if "make new" in text:  # the trials are no part of the walk: they would double its time
                path = tmp_path / "reviews/config.yaml"
                path.write_text(re.sub(r"^    tune:.*?(?=^    grid)", "    tune: null\n", path.read_text(), flags=TUNE))
        elif language == "text" and text.startswith("id,"):
            assert text in printed  # the header of the predictions, then the first ones
    (predicted,) = tmp_path.glob("reviews/results/glue/reviews/*/r8/seed?/predictions/best/new-*/predictions.csv")
    with predicted.open(newline="") as stream:
        assert [row["id"] for row in csv.DictReader(stream)] == ["1", "2"]
    (card,) = tmp_path.glob("reviews/results/glue/reviews/*/r8/seed?/hub/best/README.md")
    assert f"{card.parent.relative_to(tmp_path)} is valid, as a model. Nothing was uploaded" in printed
