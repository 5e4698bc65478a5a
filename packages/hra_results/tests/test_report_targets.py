"""`make report` and `make power` call Snakemake, and then the package's commands."""

import subprocess

import pytest

from support import ROOT


def commands(*target: str) -> str:
    command = ["make", "-n", "--no-print-directory", "-o", ".venv/.installed", *target]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("given", "configs"),
    [
        (["CONFIG=a.yaml b.yaml"], "a.yaml b.yaml"),
        ([], "config/demo/config.yaml config/demo/quick.yaml"),
        (["DATA=data"], "config/demo/config.yaml config/demo/real_data.yaml"),
    ],
)
def test_a_report_is_about_the_folder_of_the_config(given, configs):
    contents, page = commands("report", "CORES=2", *given).splitlines()
    assert f"--configfile {configs} " in contents and contents.endswith(" -- contents")
    assert page.split() == ["python", "-m", "hra_results", "report", "--configfile", *configs.split()]


def test_the_power_is_that_of_a_plan():
    printed = commands("power", "TABLE=glue", "CONFIG=a.yaml", "SCORE=85", "DEVIATION=1.5")
    assert '--configfile a.yaml --config plan_file="$plan" -- table_glue > ' in printed
    assert printed.strip().endswith('hra_results power "$plan" --effect 1 --score 85 --deviation 1.5')
    assert commands("power", "EFFECT=0.5").strip().endswith('hra_results power "$plan" --effect 0.5')


@pytest.mark.parametrize("target", ["run", "demo"])
def test_a_run_recommends_the_report(target):
    ending = 'make report CONFIG="a.yaml b.yaml"    everything in one file\'\n'
    assert commands(target, "CONFIG=a.yaml b.yaml").endswith(ending)
