"""The training of the demo's models, at a tiny size, and the plan of the study's Snakefile."""

import hashlib
import json
import subprocess

import pytest
import torch
from diffusers import StableDiffusionPipeline
from transformers import AutoModelForCausalLM, AutoTokenizer

from studies.demo_models import pretrain_stable_diffusion, pretrain_word_problems, tiny_diffusion
from studies.demo_models.word_problems import word_problems
from support import ROOT


def test_the_snakefile_plans_both_models(tmp_path):
    command = ("snakemake", "-n", "-q", "host", "-s", ROOT / "studies/demo_models/Snakefile", "--directory", tmp_path)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    planned = " ".join((done.stdout + done.stderr).split())
    assert "pretrain_stable_diffusion 1 pretrain_word_problems 1 all 1 total 3" in planned, planned


@pytest.mark.full
def test_the_stable_diffusion_is_trained_the_same_twice(tmp_path):
    """At a tiny size: the same folder for the same seed, and it loads."""
    params = {
        "seed": 0,
        "rows": 12,
        "model": {},
        "autoencoder": {"crop_steps": 2, "steps": 1, "batch_size": 4, "crop": 32, "learning_rate": 1e-3, "kl": 1e-5},
        "denoiser": {"batch_size": 4, "learning_rate": 1e-3, "ema": 0.99, "unconditional": 0.2, "save_steps": 2},
        "phases": [{"steps": 3, "schedule": "constant_with_warmup"}, {"steps": 2, "schedule": "cosine"}],
    }
    for name in ("first", "second"):
        output = {"index": str(tmp_path / name / "model_index.json")}
        pretrain_stable_diffusion.main({"params": params, "output": output, "threads": 1})
    files = [path.relative_to(tmp_path / "first") for path in (tmp_path / "first").rglob("*") if path.is_file()]
    assert len(files) >= 9
    for file in files:
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "first", dtype=torch.float32)
    assert pipeline.scheduler.config.prediction_type == "v_prediction"
    assert pipeline.vae.config.scaling_factor != tiny_diffusion.build({}).vae.config.scaling_factor
    assert pipeline("a ball", num_inference_steps=1).images[0].size == (64, 64)


@pytest.mark.full
def test_the_language_model_is_trained_the_same_twice(tmp_path):
    """At a tiny size: the same folder for the same seed, and it loads."""
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    training = {"num_train_epochs": 1, "per_device_train_batch_size": 16, "learning_rate": 1e-3}
    params = {"rows": 60, "seed": 0, "vocabulary": 300, "model": size | {"max_position_embeddings": 64}}
    params["training"] = training
    for name in ("first", "second"):
        output = {"weights": str(tmp_path / name / "model.safetensors")}
        pretrain_word_problems.main({"params": params, "output": output})
    for file in ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "first")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "first")
    ids = tokenizer("Take 7. Add 5.", return_tensors="pt")["input_ids"]
    assert model(input_ids=ids, labels=ids).loss.isfinite() and model.config.eos_token_id == tokenizer.eos_token_id


def test_the_training_data_are_those_of_the_committed_model():
    rows = json.dumps(word_problems({"train": 20, "validation": 10}, 0))
    assert hashlib.sha256(rows.encode()).hexdigest()[:16] == "6dc3f1df52582f29"
