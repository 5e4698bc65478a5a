"""Run commands of LLaMA-Factory and axolotl on a tiny LLaMA with a chat template and a few sums."""

import json
import os
import subprocess
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file
from sidebyside import close
from transformers import AutoModelForCausalLM, AutoTokenizer

import chat_models

# PEFT's own layers cannot compute after this, so what trains, trains this package's.
ONLY_OURS = """import peft.tuners.hra.layer as stock
del stock.HRALinear.forward
"""
PAIRS = [(a, b) for a in range(4) for b in range(4)]
SUMS = [{"instruction": f"How many is {a} and {b}?", "input": "", "output": f"It is {a + b}"} for a, b in PAIRS]
PREFERENCES = [
    {"instruction": row["instruction"], "chosen": row["output"], "rejected": "Ask someone else"} for row in SUMS
]


def prepare(folder: Path) -> None:
    """Write the model and the data."""
    chat_models.write(folder / "MODEL", "llama")
    (folder / "sums.json").write_text(json.dumps(SUMS))
    (folder / "pairs.json").write_text(json.dumps(PREFERENCES))


def shell(folder: Path, tool: Path, text: str, typed: str = "", **environment: str) -> str:
    """Run a block of commands with the programs of the tool's environment, and return what it prints."""
    quiet = {"DO_NOT_TRACK": "1", "AXOLOTL_DO_NOT_TRACK": "1"}
    quiet |= {"PATH": f"{tool.parent}:{os.environ['PATH']}", "CUDA_VISIBLE_DEVICES": "", "NO_COLOR": "1"} | environment
    command = ["bash", "-ec", text]
    done = subprocess.run(command, cwd=folder, env=os.environ | quiet, input=typed, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def vectors(adapter: Path) -> dict[str, torch.Tensor]:
    """Return the trained vectors, by layer: all of those of the q_proj and v_proj, with r = 8."""
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert config["peft_type"] == "HRA" and config["r"] == 8
    state = load_file(adapter / "adapter_model.safetensors")
    layers = [f"layers.{layer}.self_attn.{name}.hra_u" for layer in range(2) for name in ("q_proj", "v_proj")]
    assert sorted(name.split("model.")[-1] for name in state) == layers
    return state


def moved(adapter: Path) -> bool:
    """Return whether every layer has left its initialisation of equal pairs, in which H is the identity."""
    return all((u[:, ::2] != u[:, 1::2]).any() for u in vectors(adapter).values())


def check_merged(folder: Path, adapter: str, merged: str) -> str:
    """Compare the merged model with the adapter, and return its first tokens in answer to the first sum."""
    tokenizer = AutoTokenizer.from_pretrained(folder / "MODEL")
    text = "<|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    tokens = tokenizer(text.format(SUMS[0]["instruction"]), return_tensors="pt").input_ids
    base, merged = (AutoModelForCausalLM.from_pretrained(folder / one, dtype="float32") for one in ("MODEL", merged))
    given = base(tokens).logits
    adapted = PeftModel.from_pretrained(base, folder / adapter).eval()(tokens).logits
    close(merged(tokens).logits, adapted, 256)
    assert (adapted - given).abs().max() > 0.1
    answer = merged.generate(tokens, max_new_tokens=9, do_sample=False)[0, tokens.shape[1] :]
    return tokenizer.decode(answer, skip_special_tokens=True)


def history(folder: Path) -> list[dict]:
    """Return the logged steps."""
    logs = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return [entry for entry in logs if "loss" in entry]
