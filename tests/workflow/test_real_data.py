"""Short training runs on the real data of ../shared/data. Minutes."""

import json
import subprocess
import sys

import pytest
import torch
import yaml
from peft import PeftModel

from hra_workflow.core import manifests
from hra_workflow.models import causal_lm
from hra_workflow.models.prompts import Prompt
from support import ROOT, SHARED, paper_config


def make_real(tmp_path, task: str, target: str, preset: str):
    """Build a file of the demo on the real data, with a shortened preset and training on both cores."""
    if not SHARED.exists():
        pytest.skip("../shared/data is not here")
    short = tmp_path / "short.yaml"
    short.write_text(
        f"presets: {{{task}: {{demo-real: {preset}}}}}\n"
        f"tasks: {{{task}: {{resources: {{threads: 2}}}}}}\n"
        f"pathvars: {{results: {tmp_path}/results, resources: demo/real/resources, "
        f"scratch: {tmp_path}/scratch, logs: {tmp_path}/logs}}\n"
    )
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", "config/demo/config.yaml"]
    command += ["config/demo/real_data.yaml", str(short), "--config", f"local_root={SHARED}/data", "--"]
    done = subprocess.run([*command, str(tmp_path / target)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return tmp_path / target


@pytest.mark.full
@pytest.mark.real
def test_hra_learns_the_real_sst2(tmp_path):
    """Check that short training on the real sentences clearly beats the majority class (50.9 %)."""
    target = "results/glue/sst2-sentences/hra/r8/seed0/validation/metrics.json"
    made = make_real(tmp_path, "glue", target, "{datasets: {sst2-sentences: {epochs: 0.12}}}")
    metrics = json.loads(made.read_text())
    assert metrics["n_items"] == 872
    assert metrics["selections"]["last"]["metrics"]["accuracy"]["value"] > 0.6


@pytest.mark.full
@pytest.mark.real
def test_hra_learns_the_real_gsm8k(tmp_path):
    """Six steps of SmolLM2-135M, by its chat template, on GSM8K's training set: the loss on its test set falls."""
    target = "results/math/gsm8k-jsonl/hra/r8/seed0/train.json"
    record = json.loads(make_real(tmp_path, "math", target, "{all: {epochs: 0.1}}").read_text())
    assert record["steps"] == 6 and record["adapter_parameters"] == 30 * 2 * 576 * 8
    resources = ROOT / "demo/real/resources"
    model, data = (
        manifests.folder(resources / f"{name}.manifest.json")
        for name in ("models/smollm2-135m-gguf", "datasets/math/gsm8k-jsonl")
    )
    changes = yaml.safe_load((ROOT / "config/demo/real_data.yaml").read_text())["tasks"]["math"]["prompt"]
    settings = paper_config()["tasks"]["math"]["prompt"] | changes
    assert settings["chat"] is True
    prompt = Prompt(settings, causal_lm.load_tokenizer(model), model)
    rows = causal_lm.training_rows(data, "test", prompt, 256).select(range(6))
    base = causal_lm.load_model(model, "float32")
    before = loss(base, rows)
    adapted = PeftModel.from_pretrained(base, (tmp_path / target).parent / "last")
    assert loss(adapted, rows) < before - 0.2


def loss(model, rows) -> float:
    """Mean over the tokens of the answers."""
    total = tokens = 0
    with torch.inference_mode():
        for row in rows:
            ids, labels = (torch.tensor([row[name]]) for name in ("input_ids", "labels"))
            learned = int((labels[:, 1:] != causal_lm.IGNORED).sum())
            total += model(input_ids=ids, labels=labels).loss.item() * learned
            tokens += learned
    return total / tokens
