"""TRL's trainers of docs/your-own-code.md: what they train, their reference models, and the weights that vLLM gets."""

import math
import random
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import trl
from datasets import Dataset
from peft import PeftModel, get_peft_model
from sidebyside import close, llama
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from own_code import blocks
from trl.generation import vllm_generation

SFT, DPO, GRPO = blocks("TRL")
WORDS = ["<pad>", "<s>", "</s>", "user", "assistant", *(f"w{i}" for i in range(45))]
CHAT = (
    "{% for m in messages %}{{ m.role + ' ' }}{% if m.role == 'assistant' %}{% generation %}{{ m.content + ' </s> ' }}"
    "{% endgeneration %}{% else %}{{ m.content + ' ' }}{% endif %}{% endfor %}"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    """Save a tiny language model with a tokenizer of words."""
    folder = tmp_path_factory.mktemp("model")
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<pad>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokens = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", bos_token="<s>", eos_token="</s>")
    tokens.chat_template = CHAT
    tokens.save_pretrained(folder)
    torch.manual_seed(0)
    llama().save_pretrained(folder)
    return str(folder)


def rows(*columns: str, count: int = 8) -> list[dict[str, str]]:
    """Make texts of two to six words; prompts end with a space, so that the next word is a token of its own."""
    chosen = random.Random(0)
    text = lambda: " ".join(chosen.choices(WORDS[5:], k=chosen.randint(2, 6)))
    return [{name: text() + " " * (name == "prompt") for name in columns} for _ in range(count)]


@pytest.fixture
def trained(model, monkeypatch, tmp_path):
    """Run a block of the page with more options of its config (and, in `extra`, of its trainer), on the CPU."""

    def run(block: str, dataset: list[dict], extra: dict | None = None, **options):
        defaults = {"output_dir": str(tmp_path), "max_steps": 1, "use_cpu": True, "bf16": False, "report_to": []}
        defaults |= {"disable_tqdm": True, "logging_steps": 1, "max_grad_norm": 0.0, "lr_scheduler_type": "constant"}
        with monkeypatch.context() as patched:
            for name in ("SFT", "DPO", "GRPO"):
                config, trainer = getattr(trl, f"{name}Config"), getattr(trl, f"{name}Trainer")
                patched.setattr(trl, f"{name}Config", lambda c=config, **given: c(**given | defaults | options))
                patched.setattr(trl, f"{name}Trainer", lambda *a, t=trainer, **given: t(*a, **given | (extra or {})))
            names = {"MODEL": model, "dataset": Dataset.from_list(dataset)}
            exec(block.replace('"sft/adapter"', repr(str(tmp_path / "adapter"))), names)
        return names["trainer"]

    return run


def vectors(trainer) -> torch.Tensor:
    return torch.cat([one.detach().flatten() for name, one in trainer.model.named_parameters() if "hra_u" in name])


def losses(trainer) -> list[float]:
    return [log["loss"] for log in trainer.state.log_history if "loss" in log]


# SFT


def test_sft_trains_and_saves_every_adapter_and_nothing_else(trained, model, tmp_path):
    trainer = trained(SFT, rows("prompt", "completion"))
    base = AutoModelForCausalLM.from_pretrained(model)
    torch.manual_seed(42)  # TRL's default seed, set before the adapter is added
    start = dict(get_peft_model(base, trainer.model.peft_config["default"]).named_parameters())
    moved = {name for name, one in trainer.model.named_parameters() if not torch.equal(one, start[name])}
    assert moved == {name for name in start if "hra_u" in name} and len(moved) == 7
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model), tmp_path / "adapter")
    tokens = torch.arange(3, 12)[None]
    trainer.model.eval()
    close(loaded(tokens).logits, trainer.model(tokens).logits, 16)


@pytest.mark.parametrize(
    ("columns", "options", "words"),
    [
        (("prompt", "completion"), {}, "c </s>"),
        (("prompt", "completion"), {"completion_only_loss": False}, "w2 c </s>"),
        (("messages",), {"assistant_only_loss": True}, "c </s> c </s>"),
        (("messages",), {}, "p assistant c </s> user p assistant c </s>"),
    ],
)
@pytest.mark.parametrize("packing", [True, False])
def test_the_tokens_that_have_a_loss(trained, columns, options, words, packing):
    words = words.replace("c", "w3 w4").replace("p", "w1 w2")
    turns = [{"role": "user", "content": "w1 w2"}, {"role": "assistant", "content": "w3 w4"}]
    row = {"messages": turns * 2} if columns == ("messages",) else {"prompt": "w1 w2 ", "completion": "w3 w4"}
    trainer = trained(SFT, [row] * 3, packing=packing, **options)
    batch = next(iter(trainer.get_train_dataloader()))
    labels = batch["labels"] if packing else batch["labels"][:, 1:]  # nothing predicts the first token of a sequence
    found = " ".join(WORDS[token] for token in labels.flatten() if token >= 0)
    assert found == " ".join([words] * 3)


@pytest.mark.parametrize("completion_only_loss", [True, False])
def test_packed_sequences_train_like_separate_ones(trained, completion_only_loss):
    data = rows("prompt", "completion")
    options = {"completion_only_loss": completion_only_loss, "max_steps": 3, "learning_rate": 1e-2}
    packed, separate = (trained(SFT, data, packing=packing, max_length=24, **options) for packing in (True, False))
    assert len(packed.train_dataset) < len(separate.train_dataset) == 8
    assert losses(packed) == pytest.approx(losses(separate), abs=1e-4)
    assert losses(packed)[0] - losses(packed)[-1] > 1e-3
    torch.testing.assert_close(vectors(packed), vectors(separate), rtol=0, atol=1e-4)


# DPO


def test_the_reference_of_dpo_is_the_model_without_adapter(trained, model):
    data = rows("prompt", "chosen", "rejected")
    base = AutoModelForCausalLM.from_pretrained(model)
    options = {"max_steps": 4, "learning_rate": 1e-2}
    trainer = trained(DPO, data, **options)
    assert losses(trainer)[0] == pytest.approx(math.log(2), abs=1e-4)
    assert losses(trainer)[-1] < math.log(2) - 1e-3
    for other in (
        trained(DPO, data, precompute_ref_log_probs=True, **options),
        trained(DPO, data, {"ref_model": AutoModelForCausalLM.from_pretrained(model)}, **options),
    ):
        assert losses(other) == losses(trainer)
        torch.testing.assert_close(vectors(other), vectors(trainer), rtol=0, atol=1e-5)
    batch = next(iter(trainer.get_train_dataloader()))
    with torch.no_grad():
        logits = base(batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1].log_softmax(-1)
    each = logits.gather(-1, batch["input_ids"][:, 1:, None])[..., 0] * batch["completion_mask"][:, 1:]
    close(torch.cat(trainer.compute_ref_log_probs(trainer.model, batch)), each.sum(1), 16)


# GRPO


class VLLM:
    """Stands in for vLLM's engine and for TRL's client of its server: keeps the weights it gets and samples with them."""

    def __init__(self, model: str):
        self.model = AutoModelForCausalLM.from_pretrained(model)
        self.syncs: list[dict[str, torch.Tensor]] = []
        worker = SimpleNamespace(model_runner=SimpleNamespace(model=self))
        self.llm_engine = SimpleNamespace(model_executor=SimpleNamespace(driver_worker=worker))
        self._got: dict[str, torch.Tensor] = {}

    def load_weights(self, weights):
        self._got |= {name: weight.clone() for name, weight in weights}

    def update_named_params(self, metadata, named_params):
        weights = list(named_params)
        assert metadata == [(name, str(one.dtype).removeprefix("torch."), list(one.shape)) for name, one in weights]
        self.load_weights(weights)

    def reset_prefix_cache(self):
        self.model.load_state_dict(self._got)  # raises for a missing or unexpected name
        self.syncs.append(self._got)
        self._got = {}

    def get_server_info(self):
        return {"model_config": {"logprobs_mode": "processed_logprobs"}}

    def sample(self, prompts: list[list[int]], count: int) -> list[tuple[list[int], list[float]]]:
        answers = []
        for prompt in (one for one in prompts for _ in range(count)):
            ids = torch.tensor([prompt])
            out = self.model.generate(ids, max_new_tokens=6, do_sample=True, top_k=0, output_logits=True,
                                      return_dict_in_generate=True, pad_token_id=0, eos_token_id=2)
            tokens = out.sequences[0, len(prompt):].tolist()
            answers.append((tokens, [one[0].log_softmax(-1)[token].item() for one, token in zip(out.logits, tokens)]))
        return answers
    
    def generate(self, prompts, sampling_params=None, use_tqdm=False, n=1, **_):
        if sampling_params is None:  # the client's
            answers = self.sample(prompts, n)
            return {"prompt_ids": prompts, "completion_ids": [a for a, _ in answers], "logprobs": [[[x] for x in p] for _, p in answers]}
        return [
            SimpleNamespace(prompt_token_ids=p["prompt_token_ids"], outputs=[SimpleNamespace(token_ids=t, logprobs=[{a: SimpleNamespace(rank=1, logprob=b)} for a, b in zip(t, l)])])
            for p, (t, l) in zip(prompts, self.sample([p["prompt_token_ids"] for p in prompts], 1))]


@pytest.mark.parametrize("mode", ["colocate", "server"])
def test_dbg_vllm_gets_the_merged_weights(trained, model, monkeypatch, mode):
    engine = VLLM(model)
    def init(self):
        self.llm = self.vllm_client = engine
    monkeypatch.setattr(vllm_generation.VLLMGeneration, "_init_vllm", init)
    monkeypatch.setattr(vllm_generation, "SamplingParams", lambda **given: given, raising=False)
    data = [row | {"answer": "7"} for row in rows("prompt")]
    trainer = trained(GRPO, data, max_completion_length=6, max_steps=4, use_vllm=True, vllm_mode=mode, learning_rate=1e-2)
    for log in trainer.state.log_history: print(log)
    print(len(engine.syncs))
    base = AutoModelForCausalLM.from_pretrained(model)
    for n, p in base.named_parameters():
        print(n, *[(s[n]-p).norm().item()/p.norm().item() for s in engine.syncs])
