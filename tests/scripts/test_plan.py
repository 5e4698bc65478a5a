"""What `hra-workflow plan` prints, without a network and without Snakemake's plan."""

import pytest

from hra_workflow import tasks
from hra_workflow.cost import disk, plan
from hra_workflow.cost.planned_jobs import Job
from support import paper_config
from test_gpu_hours import run


def download(kind: str, needed: bool = True, **wildcards: str) -> Job:
    name = "/".join(wildcards.values())
    return Job(f"download_{kind}", wildcards, [f"resources/{kind}s/{name}.manifest.json"], "log", needed=needed)


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
    epochs = len(tasks.load(config)["subject"].generated_steps("dog", "hra/r8"))
    assert disk.estimate(config, jobs).folders == {
        "resources": {"generated images": 200 * each},
        "results": {"generated images": (25 * 4 * epochs + 5000) * each},
    }
    assert epochs == 11
    here("results/control/coco/hra/r8/validation/images.tar", {})
    assert disk.estimate(config, jobs).folders["results"] == {"generated images": 25 * 4 * 11 * each + 2}
