"""Job failures on a cluster, all in one run: tables, weights and predictions equal those of the reference.

Five training jobs end in five ways: killed, over the time limit, out of memory, requeued, node down. The killed one
ends once more when it has finished, before Snakemake notes it. A shard fails twice. Then Snakemake itself is killed,
first during a training and an evaluation, then while the orphaned evaluation ends.
"""

import json
import re
from collections import Counter

import pytest

from fault_injection import FAULTS, STOPPED
from grid import COMMAND, TABLES


def record(project, run: str) -> dict:
    return json.loads((project.folder / f"results/{run}/seed0/train.json").read_text())


def test_the_tables_are_those_of_the_reference(faulty, reference):
    for table in (*TABLES, "results/table_glue.md", "results/table_math.md"):
        assert (faulty.project.folder / table).read_bytes() == (reference.folder / table).read_bytes()


def test_weights_and_predictions_are_the_same_to_the_byte(faulty, reference):
    expected = reference.folder / "results"
    names = ("*.safetensors", "predictions.jsonl.gz", "outputs.jsonl.gz")
    compared = [path for name in names for path in expected.rglob(name)]
    assert len(compared) == 5 * 2 + 1 + 5 + 2
    for path in compared:
        assert (faulty.project.folder / "results" / path.relative_to(expected)).read_bytes() == path.read_bytes(), path


@pytest.mark.parametrize("run", FAULTS, ids=[fault.replace(" ", "-") for fault in FAULTS.values()])
def test_a_training_goes_on_from_its_last_state(faulty, reference, run):
    resumed, expected = (record(project, f"glue/sentences/{run}") for project in (faulty.project, reference))
    assert expected["attempts"] == 1 and expected["resumed_from"] == []
    assert resumed["attempts"] > 1 and resumed["resumed_from"] and 0 < resumed["resumed_from"][0] < resumed["steps"]
    assert resumed["curve"] == expected["curve"]


def test_a_training_that_finished_without_snakemake_s_notice_is_not_repeated(faulty):
    trained = record(faulty.project, "glue/sentences/full/all")
    assert trained["resumed_from"][-1] == trained["steps"]
    assert not list((faulty.project.folder / "scratch/glue").rglob("checkpoint-*"))


def test_each_failure_was_what_it_claims(faulty):
    """Check the reports of Slurm and of the jobs."""
    slurm_logs = "".join(path.read_text() for path in (faulty.project.folder / "logs/slurm").rglob("*.log"))
    assert "DUE TO TIME LIMIT" in slurm_logs
    assert "exceeded memory limit" in slurm_logs
    assert "Killed" in slurm_logs
    controller = (faulty.slurm.FOLDER / "slurmctld.log").read_text()
    assert "due to failure of node" in controller and "Requeuing JobId" in controller


def test_a_shard_that_fails_twice_passes_the_third_time(faulty):
    logs = (faulty.project.folder / "logs/slurm/rule_generate_math").rglob("*.log")
    shard = [text for text in (path.read_text() for path in logs) if "shard=0" in text]
    assert sum("the node's disk is full" in text for text in shard) == 2
    assert sum("(100%) done" in text for text in shard) == 1


def test_nothing_finished_is_done_twice(faulty):
    finished = Counter()
    for path in (faulty.project.folder / "logs/slurm").rglob("*.log"):
        text = path.read_text()
        if "(100%) done" in text:
            finished[re.search(r"^rule (\w+):", text, re.MULTILINE)[1], re.search(r"wildcards: (.*)", text)[1]] += 1
    assert len(finished) == 6 + 5 + 1 + 2 + 1 + 2
    assert set(finished.values()) == {1}, finished


def test_a_second_snakemake_in_the_folder_is_refused(faulty):
    assert "Directory cannot be locked" in faulty.refused


def test_a_killed_snakemake_goes_on(faulty):
    assert "--unlock" in faulty.locked
    second, third = (path.read_text() for path in faulty.outputs[1:])
    left = r"(.+) 1 job\(s\) that an earlier Snakemake, now dead, left in the queue: \d+\."
    # The evaluation; and the training, whose second attempt would be the first one of this Snakemake.
    assert re.findall(left, second) == ["Taking over", "Cancelling"]
    assert re.findall(left, third) == [] and "rule_evaluate_math/math_sums_hra_r8_0_test" not in third


def test_jobs_go_through_sbatch_and_a_finished_grid_submits_nothing(faulty):
    submitted = {folder.name.removeprefix("rule_") for folder in (faulty.project.folder / "logs/slurm").iterdir()}
    assert submitted == set(re.findall(r"^rule (\w+):", faulty.output, re.MULTILINE))
    assert submitted == {"augment", "train_glue", "train_math", "generate_math", "evaluate_math", "compare"}
    assert "Nothing to be done" in faulty.project.snakemake(*COMMAND, "--", *TABLES)


def test_jobs_that_run_together_see_different_gpus(faulty):
    gpus = {process["job"]: (process["node"], process["gpus"]) for process in faulty.together}
    assert len(gpus) >= len(STOPPED)
    assert len(set(gpus.values())) == len(gpus), gpus
    assert all(re.fullmatch(r"\d", index) for _, index in gpus.values()), gpus


def test_two_gpus_are_two_processes(faulty):
    record = json.loads((faulty.project.folder / "results/math/sums/hra/r8/seed0/train.json").read_text())
    assert record["processes"] == 2
    gpus = {path.name: path.read_text() for path in faulty.faults.glob("rank*")}
    assert sorted(gpus) == ["rank0", "rank1"]
    assert all(len(index.split(",")) == 2 for index in gpus.values()), gpus
