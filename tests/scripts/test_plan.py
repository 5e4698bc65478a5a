"""What `make plan` prints, and the limit on GPU-hours, without a network and without Snakemake's plan."""

import pytest

from hra_workflow import tasks
from hra_workflow.config import validation
from hra_workflow.core import files
from hra_workflow.core.errors import JobError
from hra_workflow.cost import disk, downloads, finished_jobs, gpu_hours, plan, planned_jobs, row_counts
from hra_workflow.cost.planned_jobs import Job
from hra_workflow.data import sources
from hra_workflow.preflight import site
from support import paper_config


def download(kind: str, needed: bool = True, **wildcards: str) -> Job:
    name = "/".join(wildcards.values())
    return Job(f"download_{kind}", wildcards, [f"resources/{kind}s/{name}.manifest.json"], "log", needed=needed)


def run(rule: str, *outputs: str, **wildcards: str) -> Job:
    wildcards = {"method": "hra", "variant": "r8", "seed": "0"} | wildcards
    place = "/".join(("results", *(wildcards[name] for name in ("task", "dataset", "method", "variant"))))
    paths = [f"{place}/{output}" for output in outputs]
    return Job(rule, wildcards, paths, "log", record=next((path for path in paths if path.endswith("json")), None))


def test_a_gated_download_without_a_token_is_a_warning(hub_server, here, monkeypatch):
    config = paper_config()
    jobs = [download("model", model="llama2-7b"), download("dataset", task="math", dataset="gsm8k")]
    (warning,) = plan.warnings(config, ["table_math"], jobs)
    assert warning.startswith("meta-llama/Llama-2-7b-hf: gated, and there is no token on this machine. Accept")
    assert not plan.warnings(config | {"mirror": "/mirror"}, ["table_math"], jobs)
    assert not plan.warnings(config, ["table_math"], [download("model", needed=False, model="llama2-7b")])
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert not plan.warnings(config, ["table_math"], jobs)
    assert hub_server.requests == []


def test_an_archive_is_one_download_and_what_it_contains_states_the_licence(here):
    config = paper_config()
    address = sources.address(config["datasets"]["subject"]["dog"]["source"]["url"])
    subjects = [download("dataset", task="subject", dataset=name) for name in ("dog", "cat")]
    jobs = [download("archive", address=address), *subjects]
    assert downloads.summary(config, jobs) == f"unknown size: {address}"
    (line,) = downloads.licences(config, jobs)
    assert line.startswith("dog, cat: DreamBooth: CC BY 4.0")
    assert [finding.text for finding in site.sources(config, subjects)] == [
        "unpacked from an archive, which is a separate source"
    ] * 2


def test_every_download_has_its_licence_and_equal_ones_share_a_line(here):
    config = paper_config()
    names = ("gsm8k", "math", "metamathqa-40k")
    jobs = [download("model", model="llama2-7b"), *(download("dataset", task="math", dataset=name) for name in names)]
    assert list(downloads.licences(config, [*jobs, Job("download_harness", {}, ["resources/h"], "log")])) == [
        "llama2-7b: Llama 2 Community License, https://ai.meta.com/llama/license",
        "gsm8k, math, metamathqa-40k: MIT",
        "harness: not stated in the config",
    ]
    entries = [*config["models"].values(), *(one for some in config["datasets"].values() for one in some.values())]
    assert all(entry.get("license") for entry in entries)


def test_the_disk_of_full_fine_tuning(here):
    config, weights = paper_config(), 4 * 184e6
    outputs = ("train.json", "last/a.safetensors", "best/a.safetensors")
    jobs = [run("train_glue", *outputs, task="glue", dataset=name, method="full", variant="all") for name in ("a", "b")]
    found = disk.estimate(config, jobs)
    # The last and the best step; in scratch also two training checkpoints, each with AdamW's two moments.
    assert found.folders == {"results": {"weights": 2 * 2 * weights}}
    assert (found.training, found.largest, found.unknown) == ((2 * 3 + 2) * weights, "full/all", [])
    assert str(found) == "results 2.94 GB (weights 2.94); scratch 5.89 GB per concurrent run (the largest: full/all)"


def test_the_weights_of_an_adapter_are_known_from_its_initialisation_and_then_from_a_record(here):
    config, run_of = paper_config(), {"task": "glue", "dataset": "cola"}
    jobs = [
        Job("augment", run_of | {"method": "hra", "variant": "r8"}, ["resources/augmented/hra/manifest.json"], "log"),
        *(run("train_glue", "train.json", "last/a.safetensors", **run_of | {"dataset": name}) for name in ("a", "b")),
    ]
    assert disk.estimate(config, jobs).unknown == ["hra/r8", "hra/r8"]
    assert str(disk.estimate(config, jobs)) == "unknown before the first run: hra/r8"
    here("resources/augmented/hra/manifest.json", {"files": {"adapter_model.safetensors": {"bytes": 3e6}}})
    assert disk.estimate(config, jobs).folders == {
        "resources": {"initial adapters": 3e6},
        "results": {"weights": 2 * 3e6},
    }
    here(jobs[1].record, {"adapter_bytes": 4e6})
    assert disk.estimate(config, jobs).folders["results"] == {"weights": 2 * 4e6}
    jobs[0].needed = jobs[1].needed = False
    assert disk.estimate(config, jobs, missing=True).folders == {"results": {"weights": 4e6}}


def test_control_images_are_copies_of_the_archives(here):
    config = paper_config()
    jobs = [
        *(download("dataset", task="control", dataset=name) for name in ("coco", "ade20k")),
        *(
            Job("hints", {"dataset": name}, [f"resources/hints/{name}.manifest.json"], "log")
            for name in ("coco", "ade20k")
        ),
    ]
    found = disk.estimate(config, jobs)
    copies = 20e9 + (118287 + 5000) * 0.1 * 512**2
    assert found.folders == {"resources": {"downloads": 20e9, "control images": pytest.approx(copies)}}
    assert found.unknown == ["control images of ade20k"]
    config["datasets"]["control"]["coco"]["take"] = {"train": 100}
    used = disk.estimate(config, jobs).folders["resources"]["control images"]
    assert used == pytest.approx(copies * 5100 / 123287)
    jobs[0].needed = False
    assert disk.estimate(config, jobs, missing=True).folders == {"resources": {"control images": used}}
    here("resources/hints/coco.manifest.json", {"files": {"train.arrow": {"bytes": 22e9}}})
    assert disk.estimate(config, jobs).folders["resources"]["control images"] == 22e9


def test_latents_are_one_file_per_dataset_and_a_job_on_a_gpu(here):
    config = paper_config()
    control = tasks.load(config)["control"]
    jobs = [Job("latents", {"dataset": name}, [f"resources/latents/{name}.manifest.json"], "log") for name in ("coco",)]
    each = 2 * 4 * 64 * 64 * 4  # mean and standard deviation of 4 × 64 × 64 latents in float32
    assert disk.estimate(config, jobs).folders == {"resources": {"latents": 118287 * each}}
    assert gpu_hours.work({"control": control}, "latents", {"dataset": "coco"}) == 118287
    latents = Job("latents", {"dataset": "coco"}, [], "log", gpus=1, work=118287)
    speed, startup = control.settings["latents"]["resources"]["rows_per_second"], finished_jobs.STARTUP_SECONDS
    assert gpu_hours.by_config({"control": control}, latents) == 118287 / speed + startup
    here("resources/latents/coco.manifest.json", {"files": {"train.npy": {"bytes": 15e9}}})
    assert disk.estimate(config, jobs).folders == {"resources": {"latents": 15e9}}


def test_generated_images_are_counted_where_they_are_kept(here):
    config = paper_config()
    nouns = {"noun": "dog"}
    jobs = [
        Job("gather_class_images", nouns, ["resources/class_images/dog.tar"], "log"),
        run("gather_subject", "prompts/images.tar", task="subject", dataset="dog", benchmark="prompts"),
        run("gather_control", "validation/images.tar", task="control", dataset="coco", benchmark="validation"),
        run("gather_math", "gsm8k/outputs.jsonl.gz", task="math", dataset="metamathqa-40k", benchmark="gsm8k"),
    ]
    each = 1.6 * 512**2
    epochs = len(tasks.load(config)["subject"].generation.steps("dog", "hra/r8"))
    assert disk.estimate(config, jobs).folders == {
        "resources": {"generated images": 200 * each},
        "results": {"generated images": (25 * 4 * epochs + 5000) * each},
    }
    assert epochs == 11
    here("results/control/coco/hra/r8/validation/images.tar", {})
    assert disk.estimate(config, jobs).folders["results"] == {"generated images": 25 * 4 * 11 * each + 2}


def test_a_folder_elsewhere_keeps_its_name(here, tmp_path):
    config = paper_config()
    config["pathvars"] = {"results": "out", "resources": "out/cache", "scratch": str(tmp_path / "fast"), "logs": "logs"}
    for path, name in (("out/a", "results"), ("./out/cache/a", "resources"), (str(tmp_path / "fast/a"), "scratch")):
        assert disk.folder(config, Job("train_glue", {}, [path], "log")) == name


# GPU-hours


def job(rule: str, hours: float | None, gpus: int = 1, **wildcards: str) -> Job:
    """Return a job with a guess in the config, if `hours` is one."""
    wildcards = {"task": "glue", "dataset": "cola", "method": "hra", "variant": "r8", "seed": "0"} | wildcards
    record = f"results/{rule}/{'/'.join(wildcards.values())}/train.json"
    return Job(rule, wildcards, [record], "log", record=record, gpus=gpus, stated=hours and hours * 3600)


def bill() -> list[Job]:
    return [
        *(job("train_glue", 400.0, seed=seed) for seed in "012"),
        job("train_glue", 300.0, method="lora"),
        job("train_glue", 10.0, method="oft"),
        *(job("generate_math", 20.0, shard=shard, n_shards="2", benchmark="gsm8k") for shard in "01"),
        job("evaluate_glue", 0.25, method="lora"),
        job("table", None, gpus=0),
    ]


def test_hours_by_stage_and_method_and_the_dearest_items(here):
    assert plan.table("table_glue", bill()) == [
        "table_glue: 9 jobs (0 done), including 5 training runs, 2 shards, 1 evaluation",
        "  hours:    0 GPU-hours used, about 1,550 GPU-hours remaining (estimated from the config)",
        "  stages:   train 1,510, generate 40, evaluate 0.25",
        "  methods:  hra 1,240, lora 300, oft 10",
        "  dearest:  train_glue cola/hra/r8 1,200 (3 jobs), train_glue cola/lora/r8 300 (1 job), "
        "generate_math cola/hra/r8/gsm8k 40 (2 jobs)",
        "  longest:  420 hours for glue/cola/hra/r8/seed0, one job after another",
    ]


def test_the_longest_run_counts_the_whole_time_of_shared_gpus_and_a_fraction_on_several(here):
    several, shared = job("train_control", 80.0, gpus=8), job("train_glue", 10.0, method="lora")
    shared.runs_per_gpu = 3
    assert plan.estimate([several, job("evaluate_control", 1.0)]).longest() == (11.0, "glue/cola/hra/r8/seed0")
    assert plan.estimate([several, shared]).longest() == (30.0, "glue/cola/lora/r8/seed0")
    assert plan.estimate([Job("latents", {}, ["latents"], "log", gpus=1, stated=3600.0)]).longest() == (0.0, "")


def test_how_sure_the_estimate_is(here):
    measured, tried, unknown = job("train_glue", 9.0), job("train_glue", 9.0, dataset="rte"), job("evaluate_glue", None)
    done = job("train_glue", None, seed="1")
    done.record, done.needed, tried.measured = "train.json", False, 3600.0
    here(done.record, {"seconds": 7200, "device": "NVIDIA H100"})
    tried.rule = "train_math"
    assert str(plan.estimate([done, measured, tried, unknown, job("train_control", 4.0)])) == (
        "2 GPU-hours used, about 7 GPU-hours remaining (4 estimated from the config; 2 measured by finished jobs; "
        "1 measured by make preflight; no estimate for 1 job: evaluate_glue)"
    )


def test_rows_that_the_config_does_not_state_are_those_of_the_data_card(here):
    config = paper_config()
    mine = config["datasets"]["glue"]["rte"]
    del mine["rows"]
    assert row_counts.complete(config)["datasets"]["glue"]["rte"]["rows"] == {}
    here("resources/datasets/glue/rte.card.json", {"splits": {"train": {"rows": 3}, "dev": {"rows": 2}}})
    found = row_counts.complete(config)
    assert found["datasets"]["glue"]["rte"]["rows"] == {"train": 3, "dev": 2}
    assert found["datasets"]["glue"]["mrpc"] == config["datasets"]["glue"]["mrpc"] and "rows" not in mine


def test_a_run_counts_the_hours_of_its_share_of_a_gpu(here):
    (finished,) = done = [run("train_glue", "train.json", task="glue", dataset="cola")]
    finished.work, finished.gpus = 100.0, 1
    content = {"seconds": 7200.0, "device_seconds": 1800.0, "processes": 1, "device": "NVIDIA A100"}
    files.write_json(finished.record, content)
    left = run("train_glue", "train.json", task="glue", dataset="rte")
    left.work, left.gpus, left.runs_per_gpu = 400.0, 1, 4
    found = gpu_hours.hours(done, [left])
    assert (found.gpu, found.left) == (0.5, 2.0)
    config = paper_config()
    config["tasks"]["glue"]["resources"]["minutes"] = 60
    assert gpu_hours.by_config(tasks.load(config), left) == 900.0


def test_price_and_energy_of_gpu_hours(here):
    (finished,) = done = [run("train_glue", "train.json", task="glue", dataset="cola")]
    finished.work, finished.gpus, finished.needed = 100.0, 1, False
    price = {"gpu_hour": 2.5, "currency": "USD"}
    content = {"seconds": 7200.0, "device_seconds": 7200.0, "processes": 1, "device": "NVIDIA H100"}
    files.write_json(finished.record, content | {"watt_hours": 800.0})
    left = run("train_glue", "train.json", task="glue", dataset="rte")
    left.work, left.gpus = 400.0, 1
    found = gpu_hours.hours(done, [left])
    assert found.price(price) == "about 5 USD used, 20 USD remaining (2.5 per GPU-hour)" and found.price(None) == ""
    assert found.energy() == "about 0.8 kWh used, 3.2 kWh remaining (GPUs with 400 W, as in finished runs)"
    lines = plan.table("table_glue", [*done, left], price)
    assert [line[:18] for line in lines[2:4]] == ["  price:    about ", "  energy:   about "]
    files.write_json(finished.record, content | {"watt_hours": None})
    unknown = gpu_hours.hours(done, [])
    assert unknown.energy() == "" and unknown.price(price) == "about 5 USD used, 0 USD remaining (2.5 per GPU-hour)"
    assert gpu_hours.hours([], []).price(price) == ""


def test_several_tables_are_added_up_and_a_job_of_two_counts_once(here, capsys):
    jobs = bill()
    plan.show(paper_config() | {"max_gpu_hours": 1500}, {"table_a": jobs, "table_b": jobs[:4]}, jobs)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == [
        "table_a: 9 jobs (0 done), including 5 training runs, 2 shards, 1 evaluation",
        "table_b: 4 jobs (0 done), including 4 training runs",
        "all 2 tables: 9 jobs",
    ]
    assert lines[13].startswith("  hours:    0 GPU-hours used, about 1,550 GPU-hours remaining")
    assert lines[-1].startswith("  warning:  The remaining jobs need about 1,550 GPU-hours (estimated from the config)")
    for one in jobs:
        one.needed = False
    plan.show(paper_config(), {"table_a": jobs, "table_b": jobs[:4]}, jobs)
    assert capsys.readouterr().out == "table_a, table_b: nothing to do, all 9 jobs are done\n"


def test_a_run_above_the_budget_refuses_to_start(here, capsys):
    config, jobs = paper_config(), bill()
    other = job("figures", None, gpus=0)

    def start(**changes) -> None:
        plan.start(config | changes, {"table_glue": jobs}, [*jobs, other])

    with pytest.raises(JobError) as refused:
        start(max_gpu_hours=1550)
    assert str(refused.value) == (
        "The remaining jobs need about 1,550 GPU-hours (estimated from the config), more than "
        "`max_gpu_hours: 1,550`. Most expensive: train_glue cola/hra/r8 1,200 (3 jobs), train_glue cola/lora/r8 300 "
        "(1 job), generate_math cola/hra/r8/gsm8k 40 (2 jobs). Request fewer runs, or raise the limit: "
        "--config max_gpu_hours=1551"
    )
    assert not planned_jobs.TABLES.exists()
    jobs[0].needed = False  # finished jobs do not count
    start(max_gpu_hours=1551)
    saved = {name: planned_jobs.load(path) for results, name, path in planned_jobs.saved() if results == "results"}
    assert saved == {"table_glue": jobs, planned_jobs.OTHER: [other]}
    assert capsys.readouterr().err == ""
    jobs.append(job("evaluate_harness", None))
    start(max_gpu_hours=1551)
    text = "`max_gpu_hours` cannot count all jobs: no estimate for 1 job: evaluate_harness\n"
    assert capsys.readouterr().err == text
    # No limit; probes are not the run that is limited.
    start()
    start(max_gpu_hours=1, preflight="jobs")
    assert capsys.readouterr().err == ""
    with pytest.raises(JobError, match="max_gpu_hours"):
        validation.check(config | {"max_gpu_hours": 0})


def test_the_plan_counts_the_gpu_jobs_of_runs_that_share_them(here):
    jobs = [run("train_glue", "train.json", task="glue", dataset="cola", seed=str(seed)) for seed in range(6)]
    assert plan.gpu_jobs(jobs) == 0
    for one in jobs:
        one.gpus, one.work = 1, 10.0
    assert plan.gpu_jobs(jobs) == 0
    for one in jobs:
        one.runs_per_gpu = 4
    assert plan.gpu_jobs(jobs) == 2
    jobs[0].needed = jobs[1].needed = False
    assert plan.gpu_jobs(jobs) == 1
    assert plan.table("table_glue", jobs)[0].endswith("including 6 training runs (2 done) in 1 GPU job")
    jobs[2].measured = 360.0
    assert "at most, measured by make preflight on a run that did not share its GPU" in str(plan.estimate(jobs))
