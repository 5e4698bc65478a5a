"""Jobs that compute nothing import no torch: of a grid's jobs a third only write down that there is nothing to do."""

import json
import subprocess
import sys

import numpy
import pytest
from safetensors.numpy import load_file, save_file

from hra_workflow.core import files
from support import ROOT

SCRIPTS = ROOT / "workflow/scripts"


@pytest.fixture
def job(tmp_path):
    """Build a job on a model with 12 parameters, for a method without adapter or training."""
    unet = tmp_path / "model/unet"
    unet.mkdir(parents=True)
    save_file({"weight": numpy.ones((3, 4), numpy.float32)}, unet / "weights.safetensors")
    files.write_json(tmp_path / "model/model_index.json", {"_class_name": "StableDiffusionPipeline"})
    content = {
        "bytes": (unet / "weights.safetensors").stat().st_size,
        "sha256": files.sha256(unet / "weights.safetensors"),
    }
    manifest = {"name": "model", "revision": None, "sha256": "0", "folder": "model", "files": {}}
    manifest["files"]["unet/weights.safetensors"] = content
    for name in ("model", "dataset"):
        made = {"result": "d", "settings": {}}  # of control images
        files.write_json(tmp_path / f"{name}.manifest.json", manifest | {"made_from": made})
    return {
        "rule": "a_rule",
        "input": {name: str(tmp_path / f"{name}.manifest.json") for name in ("model", "dataset")},
        "output": {},
        "params": {"scratch": str(tmp_path / "scratch"), "preset": "none", "hyperparameters": {}, "task_version": 1}
        | {"model_name": "model", "seed": "3"},
        "resources": {"gpu": 0, "save_seconds": 100},
        "threads": 1,
        "wildcards": {"task": "control", "dataset": "d", "method": "m", "variant": "v", "seed": "3"},
        "log": str(tmp_path / "log"),
    }


def imported(script: str, job: dict, folder) -> set[str]:
    """Packages that a script has imported when it ends."""
    (folder / "job.json").write_text(json.dumps(job))
    program = f"import sys; sys.argv[1:] = [{str(folder / 'job.json')!r}]; sys.path.insert(0, {str(SCRIPTS)!r})\n"
    program += f"import runpy; runpy.run_path({str(SCRIPTS / script)!r}, run_name='__main__'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stdout.split()}


def test_training_of_the_base_model(job, tmp_path):
    run = tmp_path / "run"
    job["output"] = {"record": str(run / "train.json"), "last": str(run / "last/adapter_model.safetensors")}
    job["params"]["method"] = {"kind": "pretrained", "version": 1}
    assert not imported("train_subject.py", job, tmp_path) & {"torch", "transformers", "peft", "diffusers"}
    assert files.read_json(run / "train.json")["total_parameters"] == 12
    assert load_file(run / "last/adapter_model.safetensors") == {}
