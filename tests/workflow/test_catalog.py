"""The Snakemake workflow catalog's rules for "standardized usage", on this repository.

Source: README.md and scripts/generate-catalog.py of snakemake/snakemake-workflow-catalog at 2cac294. It also runs
`snakemake --lint` and `snakefmt --check`, as `make lint` does. A later version shows the parameters in
workflow/schemas/ (source/build_wf_pages.py at 06d1b58). The cases of .test/, which CI runs and
reports, are like those of snakemake-workflows/rna-seq-star-deseq2 at aa6b17e (.github/workflows/main.yml).
"""

import json

import pytest
import yaml

from hra_workflow import tasks
from hra_workflow.config import overlays, validation
from support import ROOT, paper_config

CASES = sorted((ROOT / ".test").glob("config_*/config.yaml"))


def test_the_catalog_finds_the_workflow():
    readme = (ROOT / "README.md").read_text().lower()
    assert "snakemake" in readme and "workflow" in readme  # its search
    assert (ROOT / "workflow/Snakefile").is_file()
    assert list((ROOT / "rules").glob("*.smk"))


def test_the_catalog_can_show_how_to_use_it():
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert set(usage) == {"mandatory-flags", "software-stack-deployment", "report"}
    assert usage["mandatory-flags"]["desc"]
    deployments = usage["software-stack-deployment"]
    assert set(deployments) <= {"conda", "apptainer", "apptainer+conda"} and any(deployments.values())
    assert (ROOT / "config/README.md").read_text().startswith("# ")


def test_the_catalog_can_show_the_parameters():
    """It reads `properties` of the file, of each the description."""
    shown = json.loads((ROOT / "workflow/schemas/config.schema.json").read_text())["properties"]
    assert {"mirror", "max_gpu_hours", "tasks"} <= shown.keys() and all(one["description"] for one in shown.values())


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.parent.name)
def test_a_case_is_small_and_valid(path):
    *_, (_, own) = read = overlays.with_extended([path], overlays.read)
    config = overlays.merged(paper_config(), *(content for _, content in read))
    chosen = overlays.finish_merge(config, [content for _, content in read])
    validation.check(config)
    assert chosen and set(chosen) == own["tasks"].keys()
    assert sum(len(tasks.load(config)[name].runs()) for name in chosen) <= 4
    assert all(
        folder.startswith((path.parent.name.removeprefix("config_"), "resources"))
        for folder in own["pathvars"].values()
    )


def test_ci_runs_and_reports_every_case():
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    targets = {row["target"] for row in jobs["make"]["strategy"]["matrix"]["include"]}
    cases = [path.parent.name.removeprefix("config_") for path in CASES]
    assert cases and f"for case in {' '.join(cases)}; do" in (ROOT / ".ci/cases").read_text()
    assert "cases" in targets
