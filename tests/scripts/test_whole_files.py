"""Files left by a killed process, a full disk or a failing disk: removed, detected, named in errors."""

import gzip
import json
import os
import platform
import shutil
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
import torch
from peft import HRAConfig, get_peft_model
from safetensors.torch import save_file

import evaluate_math
import train_math
from hra_workflow.core import files, lock, manifests, predictions, process_identity
from hra_workflow.core.errors import JobError
from hra_workflow.data import safe_checkpoints
from hra_workflow.models import adapters, classifier
from hra_workflow.training import checkpoints
from support import method


def killed(folder: Path) -> Path:
    """Leave what a process killed while writing metrics.json would leave."""
    code = (
        "import os, sys; sys.path[:0] = ['workflow/scripts']\n"
        "from hra_workflow.core import files\n"
        "with files.replacing(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(folder / "metrics.json")])
    (left,) = folder.iterdir()
    return left


def test_what_killed_processes_left_goes_with_the_next_write(tmp_path):
    killed(tmp_path)
    host = platform.node()
    others = [f".metrics.json.{host}-{os.getppid()}.tmp", ".metrics.json.elsewhere-1.tmp", ".metrics.json.bak"]
    old = [".metrics.json.elsewhere-2.tmp", ".metrics.json.4711.tmp", ".metrics.json.tmp"]
    for name in others + old:
        (tmp_path / name).write_text("half")
    for name in old:
        os.utime(tmp_path / name, (0, 0))
    files.write_json(tmp_path / "metrics.json", {"a": 1})
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, "metrics.json"])


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    files.write_text(tmp_path / "a.json", "old")
    with pytest.raises(OSError, match="full"), files.replacing(tmp_path / "a.json") as temporary:
        temporary.write_text("half")
        raise OSError("full")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_a_job_whose_snakemake_has_ended_gives_no_file_its_name(tmp_path, monkeypatch):
    """Also if Snakemake ends while the file is written."""
    snakemake = subprocess.Popen(["sleep", "60"])
    start = process_identity.start_of(snakemake.pid)
    identity = process_identity.this_process() | {"pid": snakemake.pid, "start": start}
    monkeypatch.setenv(process_identity.STARTED_BY, json.dumps(identity))
    files.write_text(tmp_path / "a.json", "of the job")
    with pytest.raises(JobError, match="it writes nothing more"), files.replacing(tmp_path / "a.json") as temporary:
        temporary.write_text("of the orphan")
        snakemake.kill()
        snakemake.wait()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["of the job"]
    with pytest.raises(JobError, match="it writes nothing more"), files.replacing_folder(tmp_path / "images"):
        pass
    assert not (tmp_path / "images").exists()
    with pytest.raises(JobError, match="it writes nothing more"), lock.held(tmp_path / "run"):
        pass  # nor does it begin to train


@pytest.fixture
def flipped():
    """Return a function that corrupts a byte of a file, without changing size and date, while `read` must refuse it."""

    def check(path: Path, read) -> None:
        whole, times = path.read_bytes(), path.stat()
        middle = len(whole) // 2
        path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 0x55]) + whole[middle + 1 :])
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        with pytest.raises(JobError, match=rf"{path.name}: expected SHA-256 .* Delete .*manifest\.json and run again"):
            read()
        path.write_bytes(whole)

    return check


def test_a_flipped_byte_of_a_benchmark_or_a_model_is_never_read(make_math_run, flipped, tmp_path):
    run = make_math_run(method("lora", targets=["q_proj"]))
    run.tiny = {name: copied(run.tiny[name], tmp_path / name) for name in ("model", "dataset")}
    dataset = run.tiny["dataset"]
    flipped(manifests.folder(dataset) / "test.parquet", lambda: evaluate_math.gold_answers(dataset, "test", "metamath"))
    flipped(manifests.folder(run.tiny["model"]) / "model.safetensors", lambda: train_math.main(run.train))
    flipped(run.folder / "augmented/adapter_model.safetensors", lambda: train_math.main(run.train))


def copied(manifest: str, folder: Path) -> str:
    shutil.copytree(Path(manifest).parent / files.read_json(manifest)["folder"], folder)
    files.write_json(folder.with_suffix(".manifest.json"), files.read_json(manifest) | {"folder": folder.name})
    return str(folder.with_suffix(".manifest.json"))


@pytest.mark.parametrize("kind", ["adapter", "checkpoint"])
def test_weights_have_the_umask_s_rights(tmp_path, kind):
    """safetensors 0.8 writes files that only their owner can read."""
    model = torch.nn.Sequential(torch.nn.Linear(4, 4))
    before = os.umask(0o027)
    try:
        if kind == "adapter":
            adapters.save(get_peft_model(model, HRAConfig(r=2, target_modules=["0"])), tmp_path / "new")
        else:
            checkpoints.save_trained(model, tmp_path / "run/.unsealed-1/checkpoint-1")
            checkpoints.seal(tmp_path / "run/.unsealed-1/checkpoint-1")
    finally:
        os.umask(before)
    (path,) = tmp_path.rglob("*.safetensors")
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("share", [0.0, 0.999])
def test_truncated_weights_are_named_with_what_to_do(tmp_path, share):
    path = tmp_path / adapters.WEIGHTS
    save_file({"weight": torch.ones(100, 10)}, path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    for read in (lambda: adapters.load(None, method("full"), tmp_path), lambda: safe_checkpoints.shapes(path)):
        with pytest.raises(JobError, match=r"adapter_model\.safetensors: expected a .* Delete it and run again"):
            read()


class Code:
    def __reduce__(self):
        return os.getcwd, ()


def test_a_model_with_code_in_its_weights_is_refused_by_name(tmp_path):
    """Check an error that transformers raises before reading any weight."""
    config = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))
    torch.save({"a": Code()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(JobError, match=r"pytorch_model\.bin: expected only tensors") as caught:
        classifier.load_model(tmp_path, None, 0)
    assert "arbitrary code" not in "".join(traceback.format_exception(caught.value))  # torch's advice to run it


def test_lines_that_are_cut_anywhere_are_noticed(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    predictions.write(path, ({"item": item} for item in range(9)))
    assert len(predictions.read(path)) == 9
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        with pytest.raises(JobError, match=r"a\.jsonl\.gz is truncated or corrupted .* Delete it and run again"):
            predictions.read(path)
    text = json.dumps({"item": 0}) + "\n" + json.dumps({"item": 1})
    path.write_bytes(gzip.compress(text[:20].encode()))  # cut between two members, in a line
    with pytest.raises(JobError, match="the last line is missing"):
        predictions.read(path)
    predictions.write(path, [])
    assert predictions.read(path) == []
