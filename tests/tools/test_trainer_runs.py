"""transformers' Trainer on one process: resuming, the best checkpoint, and compilation."""

import pytest
import torch
import transformers
from on_ranks import ROWS, base, saved, trained
from peft import PeftModel, get_peft_model_state_dict, load_peft_weights
from torch._dynamo.utils import counters

LAM = 0.5


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path):
    base(tmp_path)


def logits(model, ids=ROWS[0]["input_ids"]):
    with torch.no_grad():
        return model.eval()(input_ids=ids[None]).logits


def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path):
    whole = saved(trained(tmp_path, lam=LAM), tmp_path / "whole")
    (tmp_path / "out/checkpoint-4").rename(tmp_path / "last")
    resumed = trained(tmp_path, lam=LAM, resume=True)
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
    eager = saved(trained(tmp_path, lam=LAM), tmp_path / "eager")
    torch._dynamo.reset()
    counters.clear()
    compiled = trained(tmp_path, lam=LAM, torch_compile=True, torch_compile_backend=backend)
    assert counters["stats"]["unique_graphs"] and not counters["graph_break"]
    for name, tensor in saved(compiled, tmp_path / "compiled").items():
        torch.testing.assert_close(tensor, eager[name], rtol=0, atol=1e-5)
