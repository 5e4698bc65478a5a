"""A finished download keeps the params that it was made with, as long as the config describes the same files."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

import download
import rule_jobs
from hra_workflow.core import files
from hra_workflow.core.errors import JobError
from hra_workflow.data import finished_downloads, sources
from hra_workflow.snakemake_bridge import downloads as download_jobs

HASH, OTHER, COMMIT = "ab" * 32, "cd" * 32, "c0ffee" + "0" * 34


def url(sha256=None, address="http://a/x", **more):
    return {"kind": "url", "files": {"x": {"url": address, "sha256": sha256}, **more}}


def hub(revision, sha256=None, **changes):
    return {"kind": "hub", "repo": "org/m", "revision": revision, "files": {"x": sha256}} | changes


DOG = url(HASH, "http://a/dog/x")
ARCHIVE = {"kind": "archive", "url": "http://a/r.zip", "folder": "r/dog", "files": {"x": HASH}}


@pytest.mark.parametrize(
    ("before", "now", "kept"),
    [
        (url(), url(HASH), True),  # copied from the manifest
        (url(), url(OTHER), False),
        (url(HASH), url(HASH, "http://b/y"), True),
        (url(), url(None, "http://b/y"), False),  # nothing shows that it is the same file
        (url(), url(HASH, y={"url": "http://a/y", "sha256": HASH}), False),
        (hub("main"), hub(COMMIT), True),
        (hub(COMMIT), hub(COMMIT, repo="org/other"), False),
        (DOG, ARCHIVE, True),  # DreamBooth's images, file by file before
        ({"kind": "local", "path": "a"}, {"kind": "local", "path": "b"}, False),
    ],
)
def test_what_keeps_a_finished_download(tmp_path, before, now, kept):
    manifest = tmp_path / "m.manifest.json"
    revision = COMMIT if before["kind"] == "hub" else None
    here, there = ({"source": source, "contents": None} for source in (before, now))
    listed, converted = {"x": {"bytes": 1, "sha256": HASH}}, {"x.parquet": {"bytes": 1, "sha256": OTHER}}
    for found in ({"files": listed}, {"files": converted, "raw": listed}):
        files.write_json(manifest, {"source": before, "revision": revision} | found)
        assert finished_downloads.planned_params(now, manifest) == (here if kept else there)
    manifest.write_text('{"files": {}}')  # damaged: the config counts
    assert finished_downloads.planned_params(now, manifest) == there


SOURCE = {"kind": "local", "path": "own"}
CONFIG, WEIGHTS = '{"model_type": "bert"}', b"weights"


class Own:
    """A model in a folder of the user's, as seen by a download job and a dry run."""

    def __init__(self, root: Path):
        self.root, self.manifest, self.folder = root, root / "resources/m.manifest.json", root / "own"
        self.folder.mkdir(parents=True)
        (self.folder / "config.json").write_text(CONFIG)
        (self.folder / "model.safetensors").write_bytes(WEIGHTS)

    def plan(self) -> dict:
        paths = sources.of(SOURCE, local_root=str(self.root)).user_files()
        return finished_downloads.planned_params(SOURCE, self.manifest, paths)

    def download(self, planned: dict | None = None, **params) -> dict:
        """Run the job with the params of a plan, as Snakemake records them; return its manifest."""
        given = {key: value for key, value in (planned or self.plan()).items() if key not in ("paths", "own")}
        params = given | {"name": "m", "local_root": str(self.root)} | params
        download.main(rule_jobs.download("model", self.manifest, **params))
        return files.read_json(self.manifest)

    def is_repeated(self, before: dict) -> bool:
        now = self.plan()
        return any(now[key] != before[key] for key in ("source", "contents"))


def test_a_download_that_was_killed_keeps_the_identity_of_the_one_before(tmp_path):
    """Snakemake has deleted its manifest. A run that was trained on the files before an edit must still be planned."""
    own, contents = Own(tmp_path), []
    for text in (CONFIG, CONFIG + " "):
        (own.folder / "config.json").write_text(text)
        planned = own.plan()
        own.download(planned)
        own.manifest.unlink()
        assert not own.is_repeated(planned)
        contents.append(planned["contents"])
    assert contents[0] != contents[1]


def other_bytes_of_the_same_size_and_time(path: Path) -> None:
    stat = path.stat()
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_other_contents_of_own_files_repeat_a_download(tmp_path):
    own = Own(tmp_path)
    before, first = own.plan(), own.download()
    (own.folder / ".config.json.swp").touch()
    assert not own.is_repeated(before)
    other_bytes_of_the_same_size_and_time(own.folder / "model.safetensors")
    assert own.is_repeated(before)
    after, second = own.plan(), own.download()
    assert not own.is_repeated(after) and first["sha256"] != second["sha256"]


def downloads(folder: Path, local_root: Path, recorded=None, **forced) -> download_jobs.Downloads:
    """Plan the downloads of a project. recorded: the inputs in Snakemake's record of the manifest."""
    config = {"pathvars": {"resources": str(folder / "resources")}, "local_root": str(local_root)}
    settings = SimpleNamespace(**({"forceall": False, "forcerun": []} | forced))
    persistence = SimpleNamespace(input=lambda file: recorded)
    workflow = SimpleNamespace(persistence=persistence, dag_settings=settings, is_main_process=True)
    return download_jobs.Downloads(config | {"models": {"m": {"source": SOURCE}}}, workflow, {})


def test_links_whose_files_would_not_be_read_are_an_error(tmp_path):
    own = Own(tmp_path)
    (tmp_path / "own/link.json").symlink_to(tmp_path / "own/config.json")
    (tmp_path / "own/.cache").symlink_to("nowhere")
    assert {"link.json", "config.json"} <= own.download({"source": SOURCE})["files"].keys()
    (tmp_path / "own/folder").symlink_to(tmp_path)
    (tmp_path / "own/nothing").symlink_to("nowhere")
    with pytest.raises(SystemExit, match=r"links to a folder or to nothing, .* not read: folder, nothing\. Replace"):
        downloads(tmp_path, tmp_path, forceall=True).planned({"model": "m"})
    with pytest.raises(JobError, match="found links to a folder"):  # a job that is run by hand
        own.download({"source": SOURCE})


def test_files_of_another_project_in_shared_resources_are_not_taken(tmp_path):
    theirs, ours = (Own(tmp_path / name) for name in ("theirs", "ours"))
    theirs.manifest, planned = (
        tmp_path / "resources/models/m.manifest.json",
        SimpleNamespace(items={"model": "m"}.items),
    )
    theirs.download()
    downloads(tmp_path, ours.root).source(planned)
    other_bytes_of_the_same_size_and_time(ours.folder / "model.safetensors")
    downloads(tmp_path, ours.root, ["any input"]).source(planned)  # Snakemake repeats the download
    with pytest.raises(
        SystemExit, match=rf"^Error: {theirs.manifest}: .*, which this project has not made. Give yours"
    ):
        downloads(tmp_path, ours.root).source(planned)


def test_another_conversion_of_the_same_files_is_not_taken(tmp_path):
    manifest, entry, planned = tmp_path / "m.manifest.json", {"columns": ["text"]}, {"source": DOG, "contents": None}
    files.write_json(manifest, {"source": DOG, "dataset": entry})
    finished_downloads.check_shared(planned, entry, manifest, {})
    with pytest.raises(JobError, match="found another download"):
        finished_downloads.check_shared(planned, {"columns": ["title"]}, manifest, {})
