"""The plan of the benchmark at its real size, and the benchmark from the data to the table in the demo's size."""

import json

import pytest

from support import ROOT, table_rows

STUDY = ROOT / "studies/peft_image"


@pytest.mark.slow
def test_the_plan_has_jobs_hours_and_licences(project, planned):
    parts = [
        "4 training runs",
        "licence:  flux2-klein-base-4b, dinov2-base: Apache-2.0",
        "licence:  cat-plushy: not stated",
        "flux2-klein-base-4b 16",
    ]
    planned(project, STUDY, "table_subject", parts)


@pytest.mark.full
def test_the_image_benchmark_runs_in_the_demo_s_size(project):
    project.link_library()
    (project.folder / "short.yaml").write_text(
        "presets: {subject: {peft-image: {all: {max_steps: 4, epoch_steps: 4}}}}"
    )
    configs = (f"{STUDY}/config.yaml", f"{STUDY}/demo.yaml", "short.yaml")
    project.snakemake("--cores", "2", "--configfile", *configs, "--", "table_subject")
    results = project.folder / "demo/peft_image/results"
    table = table_rows(results / "table_subject.csv")
    assert [(row["run"], row["selection"]) for row in table] == [
        (f"{kind}/flux2-klein-{variant}", "last")
        for kind, variant in (("hra", "default"), ("lora", "default"), ("oft", "default"), ("dora", "rank64"))
    ]
    for row in table:
        assert not row["missing"] and -1 <= float(row["DINOv2 similarity"]) <= 1
        assert float(row["Training (s)"]) > 0 and float(row["Peak memory (GB)"]) > 0
    record = json.loads((results / "subject/captioned-ball/hra/flux2-klein-default/seed0/train.json").read_text())
    prompts = record["prompts"]
    assert record["steps"] == 4 and prompts["instance"][1] is None and prompts["text_layers"] == [1, 2, 3]
    compared = results / "subject/captioned-ball/hra/flux2-klein-default/seed0/prompts/metrics.json"
    assert json.loads(compared.read_text())["n_items"] == 2 * 3
