"""TRL's trainers of docs/your-own-code.md: what they train, their reference models, and the weights that vLLM gets.

The second block, for quantised base models, runs in tests/hra/quantised.py.
"""

import math
import random
from contextlib import contextmanager

import pytest
import torch
import trl
from datasets import Dataset
from peft import PeftModel, get_peft_model
from sidebyside import close, vectors
from transformers import AutoModelForCausalLM
from trl.generation import vllm_generation
from trl.trainer import grpo_trainer
from trl.trainer.utils import use_adapter
from vllm_stand_in import VLLM

import hra
import word_model
from own_code import blocks
from word_model import WORDS

SFT, CONTINUED, GRPO, _ = blocks("TRL")
ARGUMENTS = 'SFTConfig(output_dir="sft", learning_rate=1e-3, packing=True, max_length=1024)'
DPO = SFT.replace(ARGUMENTS, 'DPOConfig(output_dir="dpo", learning_rate=1e-4)').replace("SFT", "DPO")
CONTINUED = f"import transformers\n{DPO.partition('trainer =')[0]}{CONTINUED}"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("model")
    word_model.save(folder)
    return str(folder)


def rows(*columns: str, count: int = 8) -> list[dict[str, str]]:
    """Make texts of two to six words; prompts end with a space, so that the next word is a separate token."""
    chosen = random.Random(0)

    def text() -> str:
        return " ".join(chosen.choices(WORDS[5:], k=chosen.randint(2, 6)))

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
    torch.testing.assert_close(vectors(packed.model), vectors(separate.model), rtol=0, atol=1e-4)


# DPO


def test_the_reference_of_dpo_is_the_model_without_adapter(trained, model):
    data = rows("prompt", "chosen", "rejected")
    base = AutoModelForCausalLM.from_pretrained(model)
    options = {"max_steps": 2, "learning_rate": 1e-2}
    trainer = trained(DPO, data, **options)
    assert losses(trainer)[0] == pytest.approx(math.log(2), abs=1e-4)
    assert losses(trainer)[-1] < math.log(2) - 1e-3
    for other in (
        trained(DPO, data, precompute_ref_log_probs=True, **options),
        trained(DPO, data, {"ref_model": AutoModelForCausalLM.from_pretrained(model)}, **options),
    ):
        assert losses(other) == losses(trainer)
        torch.testing.assert_close(vectors(other.model), vectors(trainer.model), rtol=0, atol=1e-5)
    batch = next(iter(trainer.get_train_dataloader()))
    with torch.no_grad():
        logits = base(batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1].log_softmax(-1)
    each = logits.gather(-1, batch["input_ids"][:, 1:, None])[..., 0] * batch["completion_mask"][:, 1:]
    close(torch.cat(trainer.compute_ref_log_probs(trainer.model, batch)), each.sum(1), 16)


def test_dpo_of_a_trained_adapter_refers_to_that_adapter(trained, model):
    trained(SFT, rows("prompt", "completion"), max_steps=2, learning_rate=0.1)
    data = rows("prompt", "chosen", "rejected")
    trainer = trained(CONTINUED, data, max_steps=2, learning_rate=1e-2)
    assert losses(trainer)[0] == pytest.approx(math.log(2), abs=1e-4)
    assert losses(trainer)[-1] < math.log(2) - 1e-3
    # If this fails, TRL copies the adapter itself: remove the loop from the page.
    without = trained(CONTINUED.replace(".hra_", "nothing"), data)
    assert abs(losses(without)[0] - math.log(2)) > 1e-3


# λ > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("block", "columns"),
    [(SFT, ("prompt", "completion")), (DPO, ("prompt", "chosen", "rejected")), (GRPO, ("prompt", "answer"))],
    ids=["SFT", "DPO", "GRPO"],
)
def test_the_penalty_counts_once_per_step_of_the_optimizer(trained, block, columns):
    grpo = {"num_generations": 4, "max_completion_length": 6} if block is GRPO else {}
    data = questions() if block is GRPO else rows(*columns)
    starts = []

    class Penalty(hra.OrthogonalityCallback):
        def on_train_begin(self, *given, **also):
            super().on_train_begin(*given, **also)
            u = vectors(also["model"])
            trained_ones = [one for name, one in also["model"].named_parameters() if "hra_u" in name]
            gradients = torch.autograd.grad(hra.orthogonality_penalty(also["model"]), trained_ones)
            starts.append((u, torch.cat([one.flatten() for one in gradients])))

    def after(steps: int, lam: float, **options) -> torch.Tensor:
        options |= {"per_device_train_batch_size": 8 // steps, "gradient_accumulation_steps": steps, "optim": "sgd"}
        options |= grpo | ({"packing": False} if block is SFT else {})
        trainer = trained(block, data, {"callbacks": [Penalty(lam)]}, learning_rate=0.1, **options)
        assert trainer.state.global_step == 1
        return vectors(trainer.model)

    whole, plain = after(1, 0.5), after(1, 0.0)
    start, gradient = starts[0]
    torch.testing.assert_close(whole - plain, -0.1 * 0.5 * gradient, rtol=0, atol=1e-6)
    assert min((whole - plain).norm(), (plain - start).norm()) > 1e-3
    torch.testing.assert_close(after(4, 0.5), whole, rtol=0, atol=1e-6)
    if block is GRPO:  # one generation for several steps of the optimizer
        for options in ({"steps_per_generation": 4}, {"num_iterations": 2}):
            with_and_without = after(2, 0.5, **options) - after(2, 0.0, **options)
            torch.testing.assert_close(with_and_without, -0.1 * 0.5 * gradient, rtol=0, atol=1e-6)


# GRPO


def questions() -> list[dict[str, str]]:
    return [row | {"answer": "7"} for row in rows("prompt")]  # rewarded: w7, w17, w27, w37


def test_grpo_with_beta_compares_with_the_model_without_adapter(trained, model, monkeypatch):
    base, tokens, seen = AutoModelForCausalLM.from_pretrained(model), torch.arange(3, 12)[None], []

    @contextmanager
    def checked(policy, adapter_name):
        with use_adapter(policy, adapter_name), torch.no_grad():
            assert torch.equal(policy(tokens).logits, base(tokens).logits)
            seen.append(adapter_name)
            yield

    monkeypatch.setattr(grpo_trainer, "use_adapter", checked)
    trainer = trained(GRPO, questions(), max_completion_length=6, max_steps=3, learning_rate=1e-2)
    assert seen == [None] * 3
    kl = [log["kl"] for log in trainer.state.log_history if "kl" in log]
    assert kl[0] == 0 and min(kl[1:]) > 1e-6


@pytest.mark.full  # its cache takes seconds
@pytest.mark.parametrize("bf16", [True, False])
def test_continuous_batching_rounds_the_vectors_unless_bf16_is_off(trained, bf16):
    options = {"max_completion_length": 6, "use_transformers_continuous_batching": True}
    trainer = trained(GRPO, questions(), bf16=bf16, **options)
    assert vectors(trainer.model).dtype == (torch.bfloat16 if bf16 else torch.float32)


@pytest.fixture
def with_vllm(trained, model, monkeypatch):
    def run(mode: str, dtype: str):
        engines = []

        def start(generation):
            engines.append(VLLM(model, generation.model))
            generation.llm = generation.vllm_client = engines[0]

        monkeypatch.setattr(vllm_generation.VLLMGeneration, "_init_vllm", start)
        monkeypatch.setattr(vllm_generation, "SamplingParams", lambda **given: given, raising=False)
        options = {"max_completion_length": 6, "max_steps": 2, "learning_rate": 1e-2, "use_vllm": True}
        trainer = trained(GRPO, questions(), vllm_mode=mode, model_init_kwargs={"dtype": dtype}, **options)
        assert len(engines[0].errors) == 2 * 7
        return trainer, engines[0]

    return run


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "dtype"), [("colocate", "float32"), ("colocate", "bfloat16"), ("server", "bfloat16")])
def test_every_sync_sends_the_merged_weights_and_restores_the_base(with_vllm, model, mode, dtype):
    trainer, engine = with_vllm(mode, dtype)
    eps = torch.finfo(getattr(torch, dtype)).eps
    assert max(engine.errors) < eps
    base = AutoModelForCausalLM.from_pretrained(model, dtype=dtype).state_dict()
    for name, one in trainer.model.get_base_model().state_dict().items():
        if "hra_u" not in name:
            error = (one - base[name.replace(".base_layer", "")]).norm() / one.norm()
            assert error == 0 if dtype == "bfloat16" else error < 4 * eps, name
    assert (vectors(trainer.model) - engine.start).abs().max() > 1e-2
    if dtype == "float32":
        logs = [log for log in trainer.state.log_history if "loss" in log]
        assert max(log["sampling/sampling_logp_difference/max"] for log in logs) < 1e-5


def test_trl_sends_unmerged_float32_weights_to_a_server(with_vllm):
    """TRL unmerges before vLLM packs its last buffer. If this fails, remove the page's sentence on it."""
    assert max(with_vllm("server", "float32")[1].errors) > 0.01
