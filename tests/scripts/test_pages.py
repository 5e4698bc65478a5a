"""The pages: configs in them are valid, links lead somewhere, generated parts are current."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

import api_page
import config_pages
import config_reruns_page
import licences_page
import packages
from benchmarks import diagrams, tables
from hra_workflow import methods, tasks
from hra_workflow.config import overlays
from support import ROOT, merged

LISTED = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
TEMPLATES = ("workflow/hra_workflow/report/page/", "packages/hra_results/src/", ".github/")
PAGES = [
    name
    for name in LISTED.split()
    if (ROOT / name).is_file() and not (ROOT / name).is_symlink() and not name.startswith(TEMPLATES)
]
TESTED_ELSEWHERE = ("docs/your-own.md", "docs/your-own-code.md", "docs/extending.md")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


CONFIGS = {
    f"{page}-{number}": text
    for page in PAGES
    if page not in TESTED_ELSEWHERE
    for number, text in enumerate(blocks(page, "yaml"))
}


@pytest.mark.parametrize("example", CONFIGS)
def test_a_config_is_valid(example):
    stated = yaml.safe_load(CONFIGS[example])
    extended = overlays.extended(ROOT / "mine.yaml", stated.pop(overlays.EXTENDS, []))
    _, chosen = merged(*map(overlays.read, extended), stated)
    assert set(chosen) & set(stated["tasks"])


def test_a_source_file_has_at_most_300_lines():
    listed = subprocess.run(["git", "ls-files", "*.py", "*.smk"], cwd=ROOT, capture_output=True, text=True, check=True)
    longer = [name for name in listed.stdout.split() if len((ROOT / name).read_text().splitlines()) > 300]
    assert listed.stdout and not longer


@pytest.mark.parametrize("page", PAGES)
def test_the_links_of_a_page_lead_somewhere(page):
    for path, anchor in re.findall(r"\]\((?![a-z]+:)([^)#\s]*)(?:#([^)\s]+))?\)", without_code(page)):
        # GitHub leads from a README to the runs of a workflow this way, whatever the repository is called.
        target = (ROOT / page).parent / re.sub(r"^\.\./\.\./actions/(workflows/.*\.yml).*", r".github/\1", path)
        target = Path(os.path.normpath(target)) if path else ROOT / page
        if packages.is_deleted(target):
            continue
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), (path, anchor)


def without_code(page: str | Path) -> str:
    return re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return GitHub's anchors of the headings of a page."""
    headings = re.findall(r"^#+ (.*)", without_code(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", re.sub(r"\]\(.*?\)", "", one).lower()).replace(" ", "-") for one in headings}


@pytest.mark.parametrize("generator", [api_page, config_pages, config_reruns_page, licences_page, diagrams])
def test_what_is_generated_is_current(generator):
    stale = [path for path, text in generator.made().items() if path.read_text() != text]
    assert not stale, f"PYTHONPATH=. python {Path(generator.__file__).relative_to(ROOT)}"


def test_the_tables_of_times_are_those_of_the_results(tmp_path):
    """Otherwise: python -m benchmarks tables."""
    pages = ("README.md", "benchmarks/README.md")
    for name in pages:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text())
    tables.write(ROOT / "benchmarks/results", tmp_path)
    assert [(tmp_path / name).read_text() for name in pages] == [(ROOT / name).read_text() for name in pages]


def test_the_page_of_methods_lists_the_kinds_of_every_task():
    text = (ROOT / "docs/config/methods.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith("| `kind` per task |"))
    listed = dict(re.findall(r"(\w+): ([a-z, ]+\w)", row))
    assert listed == {task: ", ".join(methods.kinds_of(task)) for task in tasks.classes()}


def test_the_readme_is_short():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 90 and len(text.split()) <= 700
