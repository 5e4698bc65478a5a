"""What several processes train on together."""

from accelerate.data_loader import BatchSamplerShard
from torch.utils.data import BatchSampler
from transformers import TrainingArguments


def test_the_last_batch_of_an_epoch_is_filled_up_with_its_first_rows(tmp_path):
    """So all processes take the same steps, and the repeated rows count twice in that batch's mean (docs/config)."""
    assert TrainingArguments(str(tmp_path)).accelerator_config.even_batches
    micro_batches = BatchSampler(range(7), batch_size=2, drop_last=False)
    first, second = (list(BatchSamplerShard(micro_batches, 2, process)) for process in range(2))
    assert (first, second) == ([[0, 1], [4, 5]], [[2, 3], [6, 0]])
