"""Training a language model: whether activations are recomputed, and batches of similar length."""

import statistics

import pytest
import torch

import train_math
from hra_workflow.core import files, manifests
from hra_workflow.core.errors import JobError
from hra_workflow.models import adapters, causal_lm, memory
from hra_workflow.training import activation_memory, hf_trainer
from hra_workflow.training.length_windows import LengthWindows
from saved_states import stop_after
from sums import math_method


@pytest.mark.parametrize(("kind", "precision"), [("hra", "float32"), ("oft", "bf16"), ("full", "bf16")])
def test_the_activations_of_one_row_predict_those_of_a_micro_batch(tiny_math, monkeypatch, kind, precision):
    model = causal_lm.load_model(manifests.folder(tiny_math["model"]), "float32")
    if kind != "full":
        model = adapters.insert(model, math_method(kind))
    monkeypatch.setattr(activation_memory, "MARGIN", 1)
    monkeypatch.setattr(activation_memory, "ADAMW", 0)
    expected = activation_memory.saved_bytes(model, 6, 48, precision)
    assert activation_memory.needed_bytes(model, 6, 48, precision) == pytest.approx(expected, rel=0.03)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    assert activation_memory.saved_bytes(model, 6, 48, precision) < 0.6 * expected


@pytest.fixture
def automatic(make_math_run):
    """Provide a run with `gradient_checkpointing: auto` and its training job."""
    run = make_math_run(math_method("hra"), gradient_checkpointing=True, epochs=1)
    job = run.train
    job["params"]["gradient_checkpointing"] = "auto"
    return run, job


@pytest.mark.parametrize(("free", "on"), [(1e9, False), (1e5, True)])
def test_gradient_checkpointing_is_used_where_memory_is_short(automatic, monkeypatch, capsys, free, on):
    run, job = automatic
    monkeypatch.setattr(memory, "free_bytes", lambda device: free)
    stop_after(3, lambda: train_math.main(job))
    assert f"gradient checkpointing {'on' if on else 'off'}: training needs about" in capsys.readouterr().out
    monkeypatch.setattr(memory, "free_bytes", lambda device: 1e14 / free)  # the next attempt gets another GPU
    train_math.main(job)
    assert f"gradient checkpointing {'on' if on else 'off'}: as in the last attempt" in capsys.readouterr().out
    record = files.read_json(job["output"]["record"])
    assert record["resumed_from"] == [3]
    assert record["hyperparameters"] == run.settings | {"gradient_checkpointing": on}


def test_a_wrong_estimate_is_corrected_by_the_next_attempt(automatic, monkeypatch):
    _, job = automatic
    plain = hf_trainer.ResumableTrainer.training_step

    def scarce(self, *arguments):
        if not self.model.is_gradient_checkpointing:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return plain(self, *arguments)

    monkeypatch.setattr(hf_trainer.ResumableTrainer, "training_step", scarce)
    with pytest.raises(JobError, match="out of memory without gradient checkpointing; the next attempt uses it"):
        train_math.main(job)
    train_math.main(job)
    assert files.read_json(job["output"]["record"])["hyperparameters"]["gradient_checkpointing"]


def order(sampler: LengthWindows, epoch: int) -> list[int]:
    sampler.set_epoch(epoch)
    return list(sampler)


def test_batches_have_similar_lengths_in_random_order():
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(50, 500, (5003,), generator=generator).tolist()
    sampler = LengthWindows(lengths, 8, seed=3)
    found = order(sampler, 0)
    assert sorted(found) == list(range(len(lengths))) and len(sampler) == len(lengths)
    assert found != order(sampler, 1) != order(LengthWindows(lengths, 8, seed=4), 1)
    assert found == order(LengthWindows(lengths, 8, seed=3), 0)
    assert order(sampler, 1) != order(LengthWindows(lengths, 8, seed=4), 0)  # epochs and seeds are not added

    def batches(rows: list[int]) -> list[list[int]]:
        return [[lengths[row] for row in rows[first : first + 8]] for first in range(0, 5000, 8)]

    def padding(some: list[list[int]]) -> float:
        return 1 - sum(map(sum, some)) / sum(8 * max(batch) for batch in some)

    assert padding(batches(found)) < 0.03 < 0.3 < padding(batches(list(range(5003))))
    # No sawtooth: neighbouring batches are as unlike as any two. Sorted windows have a correlation near 1.
    means = [statistics.mean(batch) for batch in batches(found)]
    assert abs(statistics.correlation(means[:-1], means[1:])) < 0.1
