"""Helpers for tests of interrupted training runs."""

import shutil
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from safetensors.torch import load_file

from hra_workflow.core import files, made_from
from hra_workflow.training import callbacks, checkpoints


def stop_after(step: int, train: Callable) -> None:
    """Run `train` and interrupt it by a signal after a step, so that it saves a checkpoint."""
    plain = callbacks.CheckpointOnSignal.on_step_end

    def on_step_end(self, args, state, control, **options):
        if state.global_step == step:
            signal.raise_signal(signal.SIGTERM)
        return plain(self, args, state, control, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(callbacks.CheckpointOnSignal, "on_step_end", on_step_end)
        with pytest.raises(callbacks.Interrupted, match=rf"stopped at step {step} of \d+: signal SIGTERM"):
            train()


def kill_after(step: int, run) -> None:
    """Train a run to two steps behind a checkpoint, and leave what a kill would."""
    main = import_module(run.train["rule"]).main
    checkpoint = Path(run.train["params"]["scratch"], f"{checkpoints.PREFIX}{step}")
    kept = checkpoint.with_name("kept")
    stop_after(step, lambda: main(run.train))
    shutil.copytree(checkpoint, kept)
    stop_after(step + 2, lambda: main(run.train))
    shutil.rmtree(checkpoint.with_name(f"{checkpoints.PREFIX}{step + 2}"))
    kept.rename(checkpoint)


def check_same(record: dict, weights: dict[str, str], fresh: dict, fresh_weights: dict[str, str]) -> None:
    """Assert that two runs are bit-identical, except for their times."""
    own = ["seconds", "device_seconds", "cpu_share", "started", "finished", "peak_memory_bytes", "discarded", "sha256"]
    record, fresh = (one | {"made_from": made_from.without_folders(one["made_from"])} for one in (record, fresh))
    compared = {key: (record.get(key), fresh.get(key)) for key in (record | fresh).keys() - set(own)}
    differing = {key: pair for key, pair in compared.items() if pair[0] != pair[1]}
    assert not differing, differing
    for name, path in weights.items():
        found, expected = load_file(path), load_file(fresh_weights[name])
        assert found.keys() == expected.keys()
        assert all((found[key] == expected[key]).all() for key in found), name


def delete_outputs(job: dict) -> None:
    """Delete the outputs of a job, as Snakemake does before it runs again."""
    for path in map(Path, job["output"].values()):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def check_restored(job: dict) -> None:
    """Assert that a finished run comes back without a step of training when Snakemake has deleted its outputs."""
    record = Path(job["output"]["record"])

    def weights() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in record.parent.rglob("*.safetensors")}

    before, kept = files.read_json(record), weights()
    delete_outputs(job)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(callbacks.CheckpointOnSignal, "on_step_end", None)
        import_module(job["rule"]).main(job)
    after = files.read_json(record)
    assert after["attempts"] == before["attempts"] + 1 and after["resumed_from"][-1] == after["steps"]
    assert after["seconds"] > before["seconds"] and after["peak_memory_bytes"] >= before["peak_memory_bytes"]
    own = {"attempts": 1, "resumed_from": []}
    check_same(after | own, {}, before | own, {})
    assert weights() == kept


class Killed(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


class Reaper:
    """Raises Killed before file operation number `at` of some work; `done` counts the operations."""

    WATCHED = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.copyfile")

    def __init__(self):
        self.at, self.done = None, 0
        sys.addaudithook(self.hook)

    def hook(self, event: str, arguments: tuple) -> None:
        writes = event == "open" and isinstance(arguments[1], str) and arguments[1][0] in "wax"
        if self.at is None or not (writes or event in self.WATCHED):
            return
        if self.done == self.at:
            self.at = None
            raise Killed
        self.done += 1

    def run(self, at: int, work) -> bool:
        """Return whether `work` was killed."""
        self.at, self.done = at, 0
        try:
            work()
        except Killed:
            return True
        finally:
            self.at = None
        return False
