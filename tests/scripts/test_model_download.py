"""Download of a model."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from downloaded_datasets import job_of, run
from hra_workflow.core.errors import JobError
from hra_workflow.data import http_download
from support import ROOT

CONTENT = bytes(range(256)) * 2000
MODEL = {"model.safetensors": CONTENT, "config.json": b"{}"}


def model_source(server):
    server.files |= {f"/{name}": content for name, content in MODEL.items()}
    entries = {
        name: {"url": f"{server.address}/{name}", "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in MODEL.items()
    }
    return {"kind": "url", "files": entries}


def test_code_and_pickles_are_refused_before_the_first_byte(loopback, tmp_path):
    source = model_source(loopback)
    source["files"]["modeling.py"] = source["files"]["weights.pkl"] = source["files"]["config.json"]
    with pytest.raises(JobError, match=r"found modeling\.py, weights\.pkl"):
        run(tmp_path / "m.manifest.json", source)
    assert loopback.requests == []


def test_a_folder_gives_its_model_files_only(tmp_path):
    (tmp_path / "raw").mkdir()
    for name in ("config.json", "model.safetensors", "train.py", "optimizer.pt"):
        (tmp_path / "raw" / name).write_text("{}")
    record = run(tmp_path / "m.manifest.json", {"kind": "local", "path": "raw"}, local_root=tmp_path)
    assert set(record["files"]) == {"config.json", "model.safetensors"}


def test_a_failure_keeps_what_has_come_and_leaves_nothing_that_counts(loopback, tmp_path, monkeypatch):
    monkeypatch.setattr(http_download, "BACKOFF", 0.0)
    source, manifest = model_source(loopback), tmp_path / "m.manifest.json"
    loopback.refuse["/config.json"] = (404, {})
    with pytest.raises(JobError, match="HTTP status 404"):
        run(manifest, source)
    assert not manifest.exists() and not (tmp_path / "m").exists()
    loopback.refuse.clear()
    loopback.requests.clear()
    record = run(manifest, source)
    assert [request["path"] for request in loopback.requests] == ["/config.json"]
    assert set(record["files"]) == set(MODEL) and "rows" not in record


def test_a_new_source_does_not_mix_with_the_old(loopback, tmp_path, monkeypatch):
    monkeypatch.setattr(http_download, "BACKOFF", 0.0)
    source, manifest = model_source(loopback), tmp_path / "m.manifest.json"
    loopback.refuse["/config.json"] = (404, {})
    with pytest.raises(JobError):
        run(manifest, source)
    loopback.files["/model.safetensors"] = CONTENT[::-1]
    loopback.refuse.clear()
    source["files"]["model.safetensors"]["sha256"] = hashlib.sha256(CONTENT[::-1]).hexdigest()
    run(manifest, source)
    assert (tmp_path / "m/model.safetensors").read_bytes() == CONTENT[::-1]


def test_an_old_manifest_does_not_outlive_a_failure(loopback, tmp_path):
    source, manifest = model_source(loopback), tmp_path / "m.manifest.json"
    run(manifest, source)
    loopback.files["/config.json"] = b"altered"
    with pytest.raises(JobError, match="expected SHA-256"):
        run(manifest, source)


def test_killed_in_the_middle_then_resumed(loopback, tmp_path):
    source, manifest = model_source(loopback), tmp_path / "m.manifest.json"
    loopback.stand_still_after = 200_000
    job = tmp_path / "job.json"
    job.write_text(json.dumps(job_of(manifest, source) | {"resources": {}, "wildcards": {}}))
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'workflow/scripts'}:{ROOT / 'workflow'}"}
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "workflow/scripts/download.py"), str(job)],
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    while not any(part.stat().st_size > 100_000 for part in tmp_path.glob(".m.*/raw/*.part")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not manifest.exists() and not (tmp_path / "m").exists()
    loopback.stand_still_after = None
    loopback.requests.clear()
    run(manifest, source)
    asked, sent = loopback.sent()[0]
    assert asked.startswith("bytes=") and sent < len(CONTENT) - 100_000
    assert (tmp_path / "m/model.safetensors").read_bytes() == CONTENT
