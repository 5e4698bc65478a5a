"""What the plan takes from results/preflight.json: the hours and memory of probes, whoever wrote them."""

from pathlib import Path

import pytest
from snakemake.utils import update_config

import results_contract
from hra_workflow import tasks
from hra_workflow.cost import estimates, planned_jobs
from hra_workflow.preflight import outcomes
from hra_workflow.snakemake_bridge import gpu_resources
from support import paper_config, probed_with

GB, BY = 10**9, {"by": "a profiler"}
MEMORY = {
    "rule": "train_glue",
    "wildcards": {"task": "glue", "method": "hra", "variant": "r8"},
    "peak_bytes": 20 * GB,
    "card_bytes": 80 * GB,
}


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({"models": {"deberta-v3-base": {"source": {"revision": "another"}}}}, False),
        ({"presets": {"glue": {"code-head": {"datasets": {"cola": {"max_length": 256}}}}}}, False),
        ({"methods": {"hra": {"variants": {"r8": {"peft": {"r": 16}}}}}}, False),
        ({"tasks": {"glue": {"defaults": {"weight_decay": 0.02}}}}, True),
    ],
)
def test_a_plan_with_another_model_or_other_sizes_does_not_show_what_probes_found(tmp_path, monkeypatch, change, kept):
    monkeypatch.chdir(tmp_path)
    config = paper_config()
    of = probed_with(tasks.load(config)["glue"], "hra/r8") | BY
    rate = of | {"stage": "train", "kind": "hra", "seconds_per_row": 1.0, "device": "NVIDIA H100"}
    outcomes.save(Path("results"), rates=[rate], memory=[MEMORY | of])
    assert not [*results_contract.problems(Path("results"))]
    config["models"]["another"] = config["models"]["deberta-v3-base"]
    update_config(config, change)
    need = gpu_resources.memory(config, "train")({"task": "glue", "method": "hra"})
    assert need == (22000 if kept else 0)
    wildcards = {"task": "glue", "dataset": "cola", "method": "hra", "variant": "r8", "seed": "0"}
    job = planned_jobs.Job("train_glue", wildcards, [], "", gpus=1)
    estimates.add_estimates(config, [job])
    assert (job.basis == "estimated by a profiler") == kept
