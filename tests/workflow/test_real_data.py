"""Short training on the real data of ../shared/data. Minutes."""

import json
import subprocess
import sys

import pytest

from support import ROOT, SHARED


@pytest.mark.full
@pytest.mark.real
def test_hra_learns_the_real_sst2(tmp_path):
    """Check that short training on the real sentences clearly beats the majority class (50.9 %)."""
    if not SHARED.exists():
        pytest.skip("../shared/data is not here")
    folders = {"results": f"{tmp_path}/results", "scratch": f"{tmp_path}/scratch", "logs": f"{tmp_path}/logs"}
    settings = {
        "presets": {"glue": {"demo-real": {"datasets": {"sst2-sentences": {"epochs": 0.12}}}}},
        "tasks": {"glue": {"resources": {"threads": 2}}},
        "pathvars": folders | {"resources": "demo/real/resources"},
    }
    (tmp_path / "short.yaml").write_text(json.dumps(settings))
    target = tmp_path / "results/glue/sst2-sentences/hra/r8/seed0/validation/metrics.json"
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", "config/demo/config.yaml"]
    command += ["config/demo/real_data.yaml", str(tmp_path / "short.yaml")]
    command += ["--config", f"local_root={SHARED}/data", "--", str(target)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = json.loads(target.read_text())
    assert metrics["n_items"] == 872
    assert metrics["selections"]["last"]["metrics"]["accuracy"]["value"] > 0.6
