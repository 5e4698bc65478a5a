"""docs/your-own.md as it stands: its files are written and its commands run, up to a prediction and an export."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from project import environment
from support import ROOT, table_rows

FIRST_PART = (ROOT / "docs/your-own.md").read_text().partition("## The demo's models")[0]
# The file that a block shows, if its name precedes it; its language; its text.
BLOCK = re.compile(r"(?:`(\S+)`:\n\n)?```(\w+)\n(.*?)```", re.DOTALL)


def with_fewer_trials(path: Path) -> None:
    """Tune with two of the four values, of which one is trained to the end: the trials would double the test's time."""
    config = yaml.safe_load(path.read_text())
    tune = config["tasks"]["glue"]["tune"] | {"trials": 2}
    tune["search"] = {name: values[:2] for name, values in tune["search"].items()}
    tune["methods"] = {"hra": {name: values[:2] for name, values in tune["methods"]["hra"].items()}}
    config["tasks"]["glue"]["tune"] = tune
    path.write_text(yaml.safe_dump(config))


@pytest.mark.full
@pytest.mark.timeout(1500)
def test_from_the_first_file_to_a_prediction(tmp_path):
    printed = ""
    for file, language, text in BLOCK.findall(FIRST_PART):
        if file:
            (tmp_path / file).write_text(text)
        elif language == "bash":
            command = ["bash", "-ec", f"exec 2>&1\n{text}"]
            done = subprocess.run(command, cwd=tmp_path, env=environment(tmp_path), stdout=subprocess.PIPE, text=True)
            assert done.returncode == 0, done.stdout
            printed = done.stdout
            if "hra-workflow new" in text:
                with_fewer_trials(tmp_path / "reviews/config.yaml")
        elif language == "text" and text.startswith("id,"):
            assert text in printed  # the header of the predictions, then the first ones
    (predicted,) = tmp_path.glob("reviews/results/glue/reviews/*/r8/seed?/predictions/best/new-*/predictions.csv")
    assert [row["id"] for row in table_rows(predicted)] == ["1", "2"]
    (card,) = tmp_path.glob("reviews/results/glue/reviews/*/r8/seed?/hub/best/README.md")
    assert f"The model card: {card.relative_to(tmp_path)}" in printed
