"""A finished download keeps the params that it was made with, as long as the config describes the same files."""

import pytest

from common.core import files
from common.planning import finished_downloads
from support import paper_config

HASH, OTHER, COMMIT = "ab" * 32, "cd" * 32, "c0ffee" + "0" * 34


def url(sha256=None, address="http://a/x", **more):
    return {"kind": "url", "files": {"x": {"url": address, "sha256": sha256}, **more}}


def hub(revision, sha256=None, **changes):
    return {"kind": "hub", "repo": "org/m", "revision": revision, "files": {"x": sha256}} | changes


BASE = {"kind": "url", "base": "http://a/dog", "files": {"x": HASH}}
ARCHIVE = {"kind": "archive", "url": "http://a/r.zip", "folder": "r/dog", "files": {"x": HASH}}


@pytest.mark.parametrize(
    ("before", "now", "kept"),
    [
        (url(), url(HASH), True),  # copied from the manifest
        (url(), url(HASH[:8]), True),
        (url(), url(OTHER), False),
        (url(), url(OTHER[:8]), False),
        (url(HASH), url(HASH, "http://b/y"), True),
        (url(), url(None, "http://b/y"), False),  # nothing shows that it is the same file
        (url(OTHER), url(), True),
        (url(), url(HASH, y={"url": "http://a/y", "sha256": HASH}), False),
        (hub("main"), hub(COMMIT), True),
        (hub("main"), hub("d" * 40), False),
        (hub(COMMIT), hub("d" * 40, HASH), True),
        (hub(COMMIT), hub(COMMIT, repo="org/other"), False),
        (BASE, ARCHIVE, True),  # DreamBooth's images, file by file before
        (BASE, ARCHIVE | {"files": {"x": OTHER}}, False),
        ({"kind": "local", "path": "a"}, {"kind": "local", "path": "b"}, False),
        ({"kind": "init", "generator": "a:b"}, url(), False),
    ],
)
def test_what_keeps_a_finished_download(tmp_path, before, now, kept):
    manifest = tmp_path / "m.manifest.json"
    revision = COMMIT if before["kind"] == "hub" else None
    listed = {"x": {"bytes": 1, "sha256": HASH}}
    done = {"source": before, "mirror": None, "revision": revision, "files": listed}
    files.write_json(manifest, done)
    here, there = {"source": before, "mirror": None}, {"source": now, "mirror": "/mirror"}
    assert finished_downloads.planned(now, "/mirror", manifest) == (here if kept else there)
    # What was converted is recorded under `raw`, and a manifest from before 2026-11-26 has no mirror.
    converted = {"x.parquet": {"bytes": 1, "sha256": OTHER}}
    files.write_json(manifest, {key: done[key] for key in ("source", "revision")} | {"files": converted, "raw": listed})
    assert finished_downloads.planned(now, "/mirror", manifest) == (here | {"mirror": "/mirror"} if kept else there)


@pytest.mark.parametrize("content", [None, "", "[]", '{"source": 1}', '{"files": {}}'])
def test_without_a_manifest_the_config_counts(tmp_path, content):
    manifest = tmp_path / "m.manifest.json"
    if content is not None:
        manifest.write_text(content)
    assert finished_downloads.planned(BASE, None, manifest) == {"source": BASE, "mirror": None}


def test_what_of_the_paper_s_grid_is_not_pinned():
    """Every other file has a commit or a published hash, and all subjects come from one archive."""
    config = paper_config()
    entries = config["models"] | {name: entry for task in config["datasets"].values() for name, entry in task.items()}
    sources = {name: entry["source"] for name, entry in entries.items()}
    branches = [name for name, source in sources.items() if source.get("revision") == "main"]
    assert branches == ["segformer-b4-nvlabs"]
    hashes = {
        (name, file): found
        for name, source in sources.items()
        if source["kind"] in ("url", "archive")
        for file, found in finished_downloads.hashes(source).items()
    }
    assert {key for key, found in hashes.items() if found is None} == {
        ("ade20k", "ade20k.zip"),
        ("celeba-hq", "celeba-hq.zip"),
        ("coco-blip", "train.jsonl"),
        ("coco-blip", "validation.jsonl"),
    }
    assert [key[0] for key, found in hashes.items() if found and len(found) < 64] == ["segformer-b4-mmseg"]
    subjects = [entry["source"] for entry in config["datasets"]["subject"].values()]
    assert len({source["url"] for source in subjects}) == 1 and sum(len(one["files"]) for one in subjects) == 158
