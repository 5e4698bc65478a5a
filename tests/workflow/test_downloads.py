"""Downloads through Snakemake: an archive that several subjects share, and what keeps a finished download."""

import re
import zipfile

import pytest
import yaml

from hra_workflow.core import files
from project import Project, png

URL = "https://host.invalid/org/repo.zip"


@pytest.mark.slow
def test_subjects_share_an_archive_and_stay_finished(tmp_path):
    project = Project.fresh(tmp_path / "project")
    project.link_library()
    with zipfile.ZipFile(tmp_path / "repo.zip", "w") as archive:
        for name, colour in {"a": "red", "b": "green", "c": "blue"}.items():
            archive.writestr(f"repo-1/{name}/00.png", png(colour))
            (tmp_path / f"{name}.png").write_bytes(png(colour))
    source = {"kind": "archive", "url": URL}
    subjects = {
        name: {
            "class": "toy",
            "prompts": "object",
            "source": source
            | {"folder": f"repo-1/{name}", "files": {"00.png": files.sha256(tmp_path / f"{name}.png")}},
        }
        for name in "abc"
    }
    config = {"datasets": {"subject": subjects}, "tasks": {"subject": {"resolution": 16}}}
    (project.folder / "small.yaml").write_text(yaml.safe_dump(config))
    targets = [f"resources/datasets/subject/{name}.manifest.json" for name in "abc"]
    command = ("--cores", "3", "--configfile", "small.yaml", "--", *targets[:2])
    project.change("workflow/hra_workflow/data/http_download.py", "BACKOFF = 1.0", "BACKOFF = 0.0")
    (saved,) = set(re.findall(r"save it as (\S+) and run again", project.snakemake(*command, ok=False)))
    (tmp_path / "repo.zip").rename(saved)
    output = project.snakemake(*command)
    assert output.count("rule download_archive:") == 1
    assert (project.folder / "resources/datasets/subject/b/00.png").read_bytes() == png("green")
    # The archive is deleted and the repository renamed.
    for archive in (project.folder / "resources/archives").rglob("archive.zip"):
        archive.unlink()
    for entry in subjects.values():
        entry["source"]["url"] = "https://host.invalid/new/repo.zip"
    (project.folder / "small.yaml").write_text(yaml.safe_dump(config))
    assert project.plan(*targets) == {
        "download_archive": {"address=host.invalid/new/repo.zip"},
        "download_dataset": {"task=subject dataset=c"},
    }


@pytest.mark.slow
def test_a_source_that_cannot_be_reached_prints_one_error(fresh, tmp_path):
    """Also with a profile that retries all other jobs."""
    project = fresh.copy(tmp_path / "project")
    project.link_library()
    project.change("workflow/hra_workflow/data/http_download.py", "BACKOFF = 1.0", "BACKOFF = 0.0")
    file = {"url": "http://127.0.0.1:9/vgg.pth", "sha256": "0" * 64}
    config = {"models": {"lpips-vgg": {"source": {"files": {"vgg.pth": file}}}}}
    (project.folder / "small.yaml").write_text(yaml.safe_dump(config))
    command = ("--cores", "1", "--retries", "3", "--configfile", "small.yaml")
    output = project.snakemake(*command, "--", "resources/models/lpips-vgg.manifest.json", ok=False)
    lines = output.splitlines()
    at = lines.index("download_model failed, see logs/download/models/lpips-vgg.log")
    assert "5 times in a row. 0 bytes are kept in resources/models/.lpips-vgg." in lines[at + 1]
    assert output.count("Error in rule download_model") == 1 and len(lines) - at < 20
