"""What several processes train on together."""

from types import SimpleNamespace

import pytest
from accelerate.data_loader import BatchSamplerShard
from torch.utils.data import BatchSampler
from transformers import TrainingArguments

from hra_workflow.training import diffusion_trainer


@pytest.mark.parametrize("processes", [1, 2])
def test_processes_share_the_samples_of_a_diffusion_model(processes):
    """Each sample is read once, and a step of any number of processes has the same ones."""

    def read(micro_batch: int, process: int) -> list[int]:
        trainer = SimpleNamespace(
            accelerator=SimpleNamespace(num_processes=processes, process_index=process),
            settings={"batch_size": 8, "gradient_accumulation": 2},
            readers=SimpleNamespace(submit=lambda get, sample: get(sample)),
            samples=range(100),
        )
        return diffusion_trainer.Trainer.read(trainer, micro_batch)

    for step in range(3):
        found = [n for part in range(2) for process in range(processes) for n in read(2 * step + part, process)]
        assert found == list(range(8 * step, 8 * step + 8))


def test_the_last_batch_of_an_epoch_is_filled_up_with_its_first_rows(tmp_path):
    """So all processes take the same steps, and the repeated rows count twice in that batch's mean (docs/config)."""
    assert TrainingArguments(str(tmp_path)).accelerator_config.even_batches
    micro_batches = BatchSampler(range(7), batch_size=2, drop_last=False)
    first, second = (list(BatchSamplerShard(micro_batches, 2, process)) for process in range(2))
    assert (first, second) == ([[0, 1], [4, 5]], [[2, 3], [6, 0]])
