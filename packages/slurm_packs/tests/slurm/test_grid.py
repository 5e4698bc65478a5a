"""A whole grid on a real Slurm with the README's command, from the downloads to the table.

Two runs share a GPU. Slurm kills one for its memory, and its neighbour, the same run on the same data by another name,
is left alone: both end with the same bytes. The other files' tests are run nightly (marker full).
"""

import json
import re

import yaml

from grid import COMMAND, PROGRAM, QUICK, SECONDS, inject_faults, new_project

TABLE = "results/table_glue.csv"


def test_a_run_that_slurm_has_killed_ends_like_its_neighbour_on_the_gpu(cluster, tmp_path, monkeypatch):
    project = new_project(tmp_path / "project")
    grid = yaml.safe_load((project.folder / "grid.yaml").read_text())
    sentences, glue = grid["datasets"]["glue"]["sentences"], grid["tasks"]["glue"]
    glue["grid"] = [{"runs": ["hra/r8"], "datasets": ["sentences", "twin"], "seeds": [0]}]
    glue["resources"]["runs_per_gpu"] = 2
    tasks = dict.fromkeys(("math", "subject", "control")) | {"glue": glue}
    preset = {"glue": {"tiny": {"all": {"epochs": 5}}}}
    changes = {"datasets": {"glue": {"twin": sentences}}, "presets": preset, "tasks": tasks}
    (project.folder / "small.yaml").write_text(yaml.safe_dump(changes))
    inject_faults(monkeypatch, tmp_path)
    command = (*COMMAND, "small.yaml", *QUICK, "--", TABLE)
    output = project.snakemake(*command, program=PROGRAM, seconds=SECONDS)

    runs = [project.folder / f"results/glue/{dataset}/hra/r8/seed0" for dataset in ("sentences", "twin")]
    killed, alone = (json.loads((run / "train.json").read_text()) for run in runs)
    assert (killed["attempts"], alone["attempts"]) == (2, 1)
    assert len(killed["resumed_from"]) == 1 and 0 < killed["resumed_from"][0] < killed["steps"]
    assert killed["curve"] == alone["curve"]
    files = [path for name in ("*.safetensors", "predictions.jsonl.gz") for path in runs[1].rglob(name)]
    assert len(files) == 4  # with the scores of the items
    for path in files:
        assert (runs[0] / path.relative_to(runs[1])).read_bytes() == path.read_bytes(), path
    assert (project.folder / TABLE).read_text().count("\n") > 1

    logs = project.folder / "logs/slurm"
    submitted = {path.name.removeprefix("rule_") for path in logs.iterdir()}
    assert submitted == {*re.findall(r"^rule (\w+):", output, re.MULTILINE), "pack"} >= {"augment", "train_glue"}
    (pack,) = (path.stem for path in (logs / "rule_pack").rglob("*.log"))
    trained = logs / "rule_train_glue"
    first, alone = (sorted((trained / f"glue_{name}_hra_r8_0").iterdir()) for name in ("sentences", "twin"))
    assert len(first) == 2 and first[0].stem == pack and [path.stem for path in alone] == [pack]
    assert "exceeded memory limit" in "".join(path.read_text() for path in logs.rglob("*.log"))
    assert output.count("Trying to restart job") == 1
