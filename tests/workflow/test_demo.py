"""`make demo`, as a stranger types it: the whole chain on a real encoder. Minutes."""

import csv
import json
import subprocess
import sys

import pytest

from support import ROOT, SHARED

MAJORITY = 50.0


@pytest.mark.slow
def test_demo_prints_a_table_in_which_every_method_beats_the_majority_class():
    done = subprocess.run(
        ["make", "demo", f"VENV={sys.prefix}", f"PYTHON={sys.executable}"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "HRA" in done.stdout and "Where to look next" in done.stdout
    with open(ROOT / "demo/results/table_glue.csv", newline="") as stream:
        table = {row["run"]: row for row in csv.DictReader(stream) if row["selection"] == "best_on_dev"}
    for run in ("head/linear", "lora/r8", "hra/r8", "full/all"):
        for name in ("Sentiment", "Paraphrase (acc)"):
            assert float(table[run][name]) > MAJORITY, (run, name)
    # The point of an adapter: clearly better than the classifier alone.
    for name in ("Sentiment", "Paraphrase (acc)"):
        assert float(table["hra/r8"][name]) > float(table["head/linear"][name]) + 5
    assert not any(row["missing"] for row in table.values())


@pytest.mark.slow
@pytest.mark.real
def test_hra_learns_the_real_sst2(tmp_path):
    """A short training on the real sentences beats the majority class (50.9 %) clearly."""
    if not SHARED.exists():
        pytest.skip("../shared/data is not here")
    overlay = tmp_path / "short.yaml"
    overlay.write_text(
        "presets: {glue: {demo-real: {datasets: {sst2-sentences: {epochs: 0.25}}}}}\n"
        f"pathvars: {{results: {tmp_path}/results, resources: demo/real/resources, "
        f"scratch: {tmp_path}/scratch, logs: {tmp_path}/logs}}\n"
    )
    target = tmp_path / "results/glue/sst2-sentences/hra/r8/seed0/validation/metrics.json"
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", "config/demo.yaml"]
    command += ["config/demo_real.yaml", str(overlay), "--config", f"local_root={SHARED}/data", "--", str(target)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = json.loads(target.read_text())
    assert metrics["n_items"] == 872
    assert metrics["selections"]["last"]["metrics"]["accuracy"]["value"] > 0.6
