"""transformers' Trainer on one process: resuming, the best checkpoint, compilation, and weight decay."""

import pytest
import torch
import transformers
from on_ranks import ROWS, base, saved, trained
from peft import PeftModel, get_peft_model_state_dict, load_peft_weights
from torch._dynamo.utils import counters


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path):
    base(tmp_path)


def logits(model, ids=ROWS[0]["input_ids"]):
    with torch.no_grad():
        return model.eval()(input_ids=ids[None]).logits


@pytest.mark.parametrize("lam", [0, 0.5])
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path, lam):
    whole = saved(trained(tmp_path, lam=lam), tmp_path / "whole")
    (tmp_path / "out/checkpoint-4").rename(tmp_path / "last")
    resumed = trained(tmp_path, lam=lam, resume=True)
    assert [log["step"] for log in resumed.state.log_history if "loss" in log] == [1, 2, 3, 4]
    again = saved(resumed, tmp_path / "again")
    assert all(torch.equal(again[name], tensor) for name, tensor in whole.items())


def test_the_best_checkpoint_is_what_the_model_has_and_computes_with(tmp_path):
    trainer = trained(tmp_path, best=True)
    found = logits(trainer.model)
    best, last = (tmp_path / f"out/checkpoint-{step}" for step in (2, 4))
    weights = get_peft_model_state_dict(trainer.model)
    assert all(torch.equal(weights[name], tensor) for name, tensor in load_peft_weights(str(best)).items())

    def loaded(folder):
        base = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base")
        return logits(PeftModel.from_pretrained(base, str(folder)))

    torch.testing.assert_close(found, loaded(best), rtol=0, atol=1e-6)
    assert (found - loaded(last)).abs().max() > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.full)])
def test_a_compiled_run_has_no_graph_break_and_ends_with_the_weights_of_an_eager_one(tmp_path, backend):
    eager = saved(trained(tmp_path), tmp_path / "eager")
    torch._dynamo.reset()
    counters.clear()
    compiled = trained(tmp_path, torch_compile=True, torch_compile_backend=backend)
    assert counters["stats"]["unique_graphs"] and not counters["graph_break"]
    for name, tensor in saved(compiled, tmp_path / "compiled").items():
        torch.testing.assert_close(tensor, eager[name], rtol=0, atol=1e-5)


@pytest.mark.parametrize("decay", [None, 0.1])
def test_weight_decay_applies_to_the_vectors_only_if_it_is_requested(tmp_path, decay):
    trainer = trained(tmp_path, **{} if decay is None else {"weight_decay": decay})
    found = {id(p): group["weight_decay"] for group in trainer.optimizer.param_groups for p in group["params"]}
    vectors = [p for name, p in trainer.model.named_parameters() if "hra_u" in name]
    assert found == {id(u): decay or 0.0 for u in vectors}
