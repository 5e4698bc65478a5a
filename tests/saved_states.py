"""What tests of interrupted trainings share."""

from collections.abc import Callable

import pytest
from safetensors.torch import load_file

from common import training


def stop_after(step: int, train: Callable) -> None:
    """Run `train`, which is told to stop after a step: its state is saved."""
    plain = training.Survive.on_step_end

    def on_step_end(self, args, state, control, **options):
        self.stopped = "the test" if state.global_step == step else None
        return plain(self, args, state, control, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.Survive, "on_step_end", on_step_end)
        with pytest.raises(training.Interrupted, match=f"stopped at step {step} of"):
            train()


def check_same(record: dict, weights: dict[str, str], fresh: dict, fresh_weights: dict[str, str]) -> None:
    """Two runs are equal to the last digit, but for when and how long they ran."""
    own = ("seconds", "started", "finished", "peak_memory_bytes", "discarded", "config_hash")
    assert {key: value for key, value in record.items() if key not in own} == {
        key: value for key, value in fresh.items() if key not in own
    }
    for name, path in weights.items():
        found, expected = load_file(path), load_file(fresh_weights[name])
        assert found.keys() == expected.keys()
        assert all((found[key] == expected[key]).all() for key in found), name
