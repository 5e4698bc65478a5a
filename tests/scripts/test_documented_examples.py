"""The examples of README.md, CONTRIBUTING.md, config/README.md and docs/ are valid, and links outside docs/ exist.

Those of docs/your-own.md and docs/extending.md are tested by test_your_own_page.py and
test_extending.py, docs/your-own-code.md's by tests/tools, the library's by test_package.py, commands by
test_documented_commands.py. `make docs` checks the links of docs/.
"""

import os
import re
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

import licences_page
import packages
from hra_workflow.config import overlays
from support import ROOT
from test_overlays import merged

INDEXES = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "CHANGELOG.md", "config/README.md")
SITE = [path for path in sorted((ROOT / "docs").rglob("*.md")) if not path.is_symlink()]
PAGES = (*INDEXES, *(str(path.relative_to(ROOT)) for path in SITE))
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
    longer = {
        name: count for name in listed.stdout.split() if (count := len((ROOT / name).read_text().splitlines())) > 300
    }
    assert listed.stdout and not longer


@pytest.mark.parametrize("page", INDEXES)
def test_the_links_of_a_page_outside_the_site_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)(?:#([^)]+))?\)", (ROOT / page).read_text())
    for path, anchor in links:
        # GitHub leads from a README to the runs of a workflow this way, whatever the repository is called.
        target = (ROOT / page).parent / re.sub(r"^\.\./\.\./actions/(workflows/.*\.yml).*", r".github/\1", path)
        target = Path(os.path.normpath(target))
        if packages.is_deleted(target):
            continue
        assert target.exists(), path
        headings = re.findall(r"^#+ (.*)", target.read_text(), re.MULTILINE) if anchor else []
        assert not anchor or anchor in [
            re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings
        ]


def test_the_licences_are_those_of_the_config():
    text = licences_page.PAGE.read_text()
    assert text == licences_page.page(text), "run: python tests/licences_page.py"
    gated = {name for name, entry in licences_page.paper_config()["models"].items() if entry["source"].get("gated")}
    named = {name for line in text.splitlines() if line.endswith("| token |") for name in re.findall("`(.*?)`", line)}
    assert gated == named and "llama2-7b" in named


def test_the_readme_is_short():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 90 and len(text.split()) <= 700


def test_every_file_on_the_way_to_the_mathematics_uses_the_next_one():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    files = re.findall(r"^\d\. \[(.*?)\]", text, re.MULTILINE)
    assert (files[0], files[-1]) == ("rules/train.smk", "hra/reflections.py") and len(files) <= 6
    for file, following in pairwise(files):
        used = rf"(import|from|scripts/).*\b({Path(following).stem}|{Path(following).parent.name})\b"
        assert re.search(used, (ROOT / file).read_text().replace("{wildcards.task}", "glue")), following


def test_the_names_of_images_are_those_of_the_docs():
    from hra_workflow.tasks.control import items as control
    from hra_workflow.tasks.subject import items as subject

    text = (ROOT / "docs/results.md").read_text()
    assert {f"`{name}.png`" for name in (subject.key((1000, 3, 0)), control.key((1000, 17)))} <= {
        *re.findall(r"`[\w-]+\.png`", text)
    }
    (example,) = blocks("docs/results.md", "python")
    assert "[17]" in example and "the 18th row" in text
