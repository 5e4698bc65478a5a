"""Run the page's GRPO block with trl_vllm.py on a server: python grpo_with_server.py FOLDER BLOCK URL RECIPES DTYPE."""

import json
import sys
from pathlib import Path

import torch
import trl
from datasets import Dataset
from trl.generation import vllm_client

FOLDER, BLOCK, URL, RECIPES, DTYPE = sys.argv[1:]
sys.path.append(RECIPES)
PROMPTS = [f"w{i} w{i + 3} " for i in range(12)]
LENGTH = 8


def compare(trainer) -> dict:
    """Return the server's greedy answers, how many are the trainer's, and how far the log-probabilities differ."""
    model, tokenizer, client = trainer.model.eval(), trainer.processing_class, trainer.vllm_generation.vllm_client
    ids = [tokenizer(prompt)["input_ids"] for prompt in PROMPTS]
    served = client.generate(ids, max_tokens=LENGTH, temperature=0.0)
    equal, differences = 0, []
    for prompt, tokens, logprobs in zip(ids, served["completion_ids"], served["logprobs"], strict=True):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([prompt + tokens])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        equal += logits.argmax(-1).tolist() == tokens
        found = logits[torch.arange(len(tokens)), tokens]
        differences.append((found - torch.tensor(logprobs)[:, 0]).abs().max().item())
    model.train()
    return {"answers": served["completion_ids"], "equal": equal, "difference": max(differences)}


def main() -> None:
    # The group of NCCL for merged weights needs a GPU.
    vllm_client.VLLMClient.init_communicator = lambda *_, **__: None
    fixed = {"output_dir": FOLDER, "max_completion_length": LENGTH, "max_steps": 5, "learning_rate": 0.05}
    fixed |= {"use_vllm": True, "vllm_mode": "server", "vllm_server_base_url": URL}
    fixed |= {
        "model_init_kwargs": {"dtype": DTYPE},
        "use_cpu": True,
        "bf16": False,
        "report_to": [],
        "disable_tqdm": True,
        "logging_steps": 1,
    }
    config = trl.GRPOConfig
    trl.GRPOConfig = lambda **given: config(**given | fixed)
    rows = [{"prompt": f"w{i} w{i + 1} ", "answer": "7"} for i in range(8)]
    names = {"MODEL": f"{FOLDER}/model", "dataset": Dataset.from_list(rows)}
    exec(Path(BLOCK).read_text().rsplit("trainer.train()", 1)[0], names)
    trainer = names["trainer"]

    from trl_vllm import send_as_lora

    send_as_lora(trainer, FOLDER)
    sync, found = trainer.vllm_generation.sync_weights, []

    def compared() -> None:
        sync()
        found.append(compare(trainer))

    trainer.vllm_generation.sync_weights = compared
    trainer.train()
    compared()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
