"""Which jobs are one Slurm job, and what it requests."""

import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake.iocontainers import ResourceList
from snakemake_interface_common.exceptions import WorkflowError

from snakemake_executor_plugin_slurm_packs import Executor, ExecutorSettings, packs


def job(seed: int, name: str = "a", size: int = 4, **resources):
    values = {"mem_mb": 100, "gpu": 1, "runtime": 60, packs.AT_ONCE: size} | resources
    values["mem"] = f"{values['mem_mb']} MB"  # as in Snakemake
    return SimpleNamespace(
        rule=SimpleNamespace(name="train", resources=values),
        is_group=lambda: False,
        wildcards_dict={"name": name, "seed": seed},
        threads=4,
        resources=ResourceList(fromdict=values),
    )


def name_of(one) -> str:
    return one.wildcards_dict["name"]


def test_replicates_share_a_gpu_first_and_as_few_packs_as_possible_are_made():
    jobs = [job(seed, name) for name in "abc" for seed in range(5)]
    made = packs.distribute(jobs, name_of)
    assert [len(pack) for pack in made] == [4, 4, 4, 3]
    assert [len(set(map(name_of, pack))) for pack in made] == [1, 1, 1, 3]
    assert sorted(id(one) for pack in made for one in pack) == sorted(map(id, jobs))
    # Jobs of another size, such as retries, never share with them.
    assert [len(pack) for pack in packs.distribute([*jobs[:3], job(9, size=2)], name_of)] == [3, 1]


def in_series(seed: int, size: int = 3, **resources):
    return job(seed, size=1, **{packs.IN_SERIES: size} | resources)


def test_jobs_in_series_fill_a_slurm_job_by_number_and_by_minutes():
    jobs = [in_series(seed) for seed in range(7)]
    assert [len(pack) for pack in packs.distribute(jobs, id)] == [3, 3, 1]
    assert [len(pack) for pack in packs.distribute(jobs, id, 150)] == [2, 2, 2, 1]
    assert [len(pack) for pack in packs.distribute(jobs, id, 30)] == [1] * 7  # each is longer than the limit
    assert packs.is_full(jobs[:3], None) and packs.is_full(jobs[:2], 150) and not packs.is_full(jobs[:2], 180)
    short = [in_series(seed, runtime=minutes) for seed, minutes in enumerate((50, 10, 40, 5, 20))]
    made = packs.distribute(short, id, 60)
    assert [[one.resources.runtime for one in pack] for pack in made] == [[50, 10], [40, 5], [20]]
    assert [len(packs.full(one, 150)) for one in (jobs[0], job(0), job(0, size=1))] == [2, 4, 1]


def test_a_pack_is_of_one_rule_one_shape_and_one_partition():
    jobs = [in_series(0), job(1, size=3), in_series(2, slurm_partition="a"), in_series(3, slurm_partition="b")]
    assert [len(pack) for pack in packs.distribute([*jobs, in_series(4, mem_mb=200)], id)] == [2, 1, 1, 1]


def test_jobs_in_series_request_the_largest_of_each_resource_and_the_sum_of_times():
    one, two = in_series(0, mem_mb=300, runtime=5), in_series(1, gpu=2, runtime=7)
    two.threads = 6
    pack = packs.Submission([one, two], ExecutorSettings(), Path("folder"))
    found = pack.resources
    assert (pack.at_once, pack.threads, found.mem_mb, found.gpu, found.runtime) == (1, 6, 300, 2, 12)
    without_gpu = [in_series(seed, gpu=0, cpus_per_task=2, slurm_partition="cpu") for seed in range(2)]
    asked = packs.options(packs.Submission(without_gpu, ExecutorSettings(), Path()), ExecutorSettings())
    assert "gpu" not in asked and "--mem 100" in asked and "--cpus-per-task=2" in asked and "-t 120" in asked


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({packs.AT_ONCE: 0}, "jobs_per_gpu: expected a whole number of at least 1, found 0"),
        ({packs.IN_SERIES: -1}, "jobs_per_allocation: expected a whole number of at least 1, found -1"),
        ({packs.IN_SERIES: 2.5}, "found 2.5"),
        ({packs.AT_ONCE: 2}, "jobs_per_gpu and jobs_per_allocation exclude each other. Set one of them to 1"),
        ({"runtime": None}, "jobs_per_allocation needs the resource runtime"),
        ({"mpi": "srun"}, "an MPI job cannot be part of a pack"),
    ],
)
def test_a_pack_that_cannot_be_made_is_an_error_that_names_the_rule(resources, message):
    with pytest.raises(WorkflowError, match=f"Rule train: .*{message}"):
        packs.check(in_series(0, **resources))
    packs.check(in_series(0, **{packs.IN_SERIES: packs.UNKNOWN, "runtime": packs.UNKNOWN}))  # no error yet


@pytest.mark.parametrize("number", [1, 2])
def test_a_site_s_requeue_can_be_switched_off_for_jobs_and_packs(number):
    jobs = [in_series(seed, slurm_partition="cpu") for seed in range(number)]
    for stated, asked in (({}, set()), ({"no_requeue": True}, {"--no-requeue"}), ({"requeue": True}, {"--requeue"})):
        settings = ExecutorSettings(**stated)
        options = packs.options(packs.Submission(jobs, settings, Path()), settings).split()
        assert {"--requeue", "--no-requeue"} & {*options} == asked


@pytest.mark.parametrize(("active", "checked", "submitted"), [([1], [], 0), ([], [1], 0), ([], [], 1)])
def test_an_incomplete_pack_waits_for_jobs_that_running_ones_can_make_ready(monkeypatch, active, checked, submitted):
    executor, packed = Executor.__new__(Executor), []
    settings = ExecutorSettings(init_seconds_before_status_checks=1000)
    executor.workflow, executor.waiting, executor.to_come = (
        SimpleNamespace(executor_settings=settings),
        [job(0)],
        [job(1)],
    )
    # Empty while the base class checks the states of the active jobs.
    executor.active_jobs, executor.checked = active, checked
    executor.changing, executor.timer, executor.quiet = threading.RLock(), None, 1000
    monkeypatch.setattr(executor, "run_pool_jobs", packed.append)
    executor.submit_packs(quiet=True)
    assert len(packed) == submitted
    if executor.timer:
        executor.timer.cancel()


def requested(*jobs, **settings) -> dict:
    return dict(packs.Submission(list(jobs), ExecutorSettings(**settings), Path()).resources.items())


def test_a_pack_requests_one_gpu_and_the_memory_of_all():
    pack = packs.Submission([job(0), job(1)], ExecutorSettings(), Path("folder"))
    assert pack.threads == 8 and pack.resources.mem_mb == 200 and pack.resources.gpu == 1
    assert pack.resources.runtime == 60 and pack.name == "pack" and pack.wildcards[0] == "2"


def test_a_site_states_partition_model_and_form_of_requests_once():
    site = {"partition": "cpu", "gpu_partition": "gpu", "gpu_model": "a100"}
    found = requested(job(0), **site)
    assert (found["slurm_partition"], found["gpu_model"], found["gpu"]) == ("gpu", "a100", 1)
    found = requested(job(0, gpu=0), **site)
    assert found["slurm_partition"] == "cpu" and "gpu_model" not in found
    found = requested(job(0, slurm_partition="mine", gpu_model="h100"), **site)
    assert (found["slurm_partition"], found["gpu_model"]) == ("mine", "h100")
    found = requested(job(0, gpu=2), gres=True, gpu_model="a100")
    assert found["gres"] == "gpu:a100:2" and not {"gpu", "gpu_model"} & set(found)
    assert requested(job(0), gres=True)["gres"] == "gpu:1"
    assert "gres" not in requested(job(0, gpu=0), gres=True)


MODELS = "h100:80000 l40s:46000"


@pytest.mark.parametrize(
    ("memories", "model"),
    [((20000,), "l40s"), ((20000, 26000), "l40s"), ((20000, 26001), "h100"), ((20000, 0), "h100"), ((None,), "h100")],
)
def test_jobs_get_the_smallest_gpu_with_enough_memory_for_all_that_share_it(memories, model):
    jobs = [job(seed, **({} if one is None else {packs.GPU_MEMORY: one})) for seed, one in enumerate(memories)]
    found = requested(*jobs, gpu_models=MODELS)
    assert found["gpu_model"] == model and packs.GPU_MEMORY not in found
    for first, needed in ((40000, "l40s"), (50000, "h100")):  # of jobs in series, the largest
        series = [in_series(seed, gpu=1, gpu_mem_mb=memory) for seed, memory in enumerate((first, 30000))]
        assert requested(*series, gpu_models=MODELS)["gpu_model"] == needed


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"allocation_minutes": 0}, "slurm-packs-allocation-minutes: expected 1 or more, found 0"),
        ({"requeue": True, "no_requeue": True}, "mutually exclusive"),
        ({"stages": "train=grant"}, "expected STAGE:RESOURCE=VALUE, found train=grant"),
        ({"gpu_models": "l40s:46000 h100"}, "gpu-models: expected MODEL:MB, found h100"),
        ({"gpu_models": MODELS, "gpu_model": "h100"}, "expected one of them, found both"),
        ({"gpu_models": "h100:1000"}, r"Rule train: 1 job\(s\) on a GPU need 2000 MB .* h100, has 1000"),
    ],
)
def test_wrong_settings_are_one_message(settings, message):
    with pytest.raises(WorkflowError, match=message):
        requested(job(0, gpu_mem_mb=2000), **settings)
