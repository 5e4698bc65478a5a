"""The Snakemake workflow catalog's rules for "standardized usage", on this repository.

Source: README.md and scripts/generate-catalog.py of snakemake/snakemake-workflow-catalog at 2cac294. It also runs
`snakemake --lint` and `snakefmt --check`, as `make lint` does.
"""

import yaml

from support import ROOT


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
