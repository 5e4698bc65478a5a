"""The probes of `hra-workflow smoke`: their config, models with random weights, and measured rates."""

import dataclasses
import json
import signal
from types import SimpleNamespace

import pytest

import download
import rule_jobs
from hra_workflow import methods, tasks
from hra_workflow.core import rates
from hra_workflow.core.errors import JobError
from hra_workflow.cost import estimates, planned_jobs
from hra_workflow.models import pretrained
from hra_workflow.preflight import outcomes, probe
from hra_workflow.training import callbacks, optimizers
from served import COMMIT
from support import paper_config, probed_with


@pytest.fixture
def config(tmp_path) -> dict:
    found = paper_config()
    found["pathvars"] = {name: str(tmp_path / name) for name in found["pathvars"]}
    return found


def test_every_kind_of_method_trains_twenty_steps_at_the_configured_batch(config):
    new = probe.config_of(config)
    for name, task in tasks.load(new).items():
        names = {f"{run['method']}/{run['variant']}" for run in task.runs()}
        old = tasks.load(config)[name]
        before, now = ({config["methods"][run["method"]]["kind"] for run in one.runs()} for one in (old, task))
        assert now == {kind for kind in before if methods.METHODS[kind].trains}
        for run in names:
            settings = task.hyperparameters(probe.NAME, run)
            assert settings["batch_size"] == old.hyperparameters(probe.dataset(old), run)["batch_size"]
            rows = new["datasets"][name][probe.NAME].get("rows", {}).get("train")
            steps = optimizers.total_steps(rows, settings) if "epochs" in settings else settings["max_steps"]
            assert steps == 20, run
        assert sum(task.hyperparameters(probe.NAME, run)["kill_at_step"] > 0 for run in names) == 1


SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}


def configured(tmp_path, hub_server, config: dict):
    """Download a model whose weights are missing on the Hub as the probes' rule `download_model` does."""
    hub_server.hub_file("org/llama", COMMIT, "config.json", json.dumps(config).encode(), large=False)
    files = {"config.json": None, "model.safetensors": None, "pytorch_model.bin": None}
    source = {"kind": "hub", "repo": "org/llama", "revision": COMMIT, "files": files}
    found = {"pathvars": {"resources": str(tmp_path / "none")}, "probes": {"models": None}}
    source = probe.source(found | {"models": {"any": {"source": source}}}, "any")
    download.main(rule_jobs.download("model", tmp_path / "model.manifest.json", source))
    return tmp_path / "model"


def test_language_models_and_classifiers_are_built_from_their_config(tmp_path, hub_server):
    import torch

    from hra_workflow.models import causal_lm, classifier

    folder = configured(tmp_path, hub_server, {"model_type": "llama", "vocab_size": 64} | SMALL)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", pretrained.MARK]
    model = causal_lm.load_model(folder, "bf16")
    weight = model.model.layers[0].mlp.up_proj.weight
    assert weight.dtype == torch.bfloat16 and weight.std() > 0 and weight.isfinite().all()
    with pytest.raises(JobError, match="download the model"):
        causal_lm.load_model(folder, "bf16", "nf4")
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "vocab_size": 64} | SMALL))
    model, head = classifier.load_model(folder, ["a", "b", "c"], seed=0)
    assert head == ["classifier"] and model.num_labels == 3 and next(model.parameters()).dtype == torch.float32


def test_the_median_step_is_reported_and_the_process_is_killed_once(tmp_path, monkeypatch, capsys):
    job = {"params": {"hyperparameters": {"batch_size": 16, "kill_at_step": 3}}, "resources": {"gpu": 2}}
    killed = []
    monkeypatch.setattr(callbacks.os, "kill", lambda _, number: killed.append(number))
    clock = iter([0.0, 9.0, 10.0, 11.0, 12.0, 20.0])
    monkeypatch.setattr(rates, "clock", lambda: next(clock))
    times = callbacks.probe_callback(job, resumed=False)
    for step in range(6):
        times.on_step_end(None, SimpleNamespace(global_step=step), None)
    times.report(job, "cpu")
    (tmp_path / "log").write_text("step\n" + capsys.readouterr().out + "saved\n")
    found = rates.last(tmp_path / "log")
    assert (found["rows"], found["seconds"]) == (16, 2.0)  # two processes for a second
    assert killed == [signal.SIGTERM]
    job["params"]["hyperparameters"] |= {"period": 3}
    times.ends = [0.0, 9.0, *(9.0 + 4 * part + second for part in range(3) for second in (2.0, 3.0, 4.0))]
    times.report(job, "cpu")  # of three steps on the same answers, the first also samples them
    assert json.loads(capsys.readouterr().out.removeprefix(rates.MARK))["seconds"] == round(2 * 4 / 3, 6)
    assert callbacks.probe_callback(job, resumed=True).kill_at == 0
    assert callbacks.probe_callback({"params": {"hyperparameters": {}}}, resumed=False) is None


def test_what_a_probe_did_not_reach_or_fit_is_said(config, tmp_path):
    new = probe.config_of(config)
    new["tasks"]["glue"]["grid"][0]["runs"] = ["lora/r8", "hra/r8-inf"]
    place = tmp_path / "scratch/preflight/glue/preflight/lora/r8/seed0/train.error.json"
    place.parent.mkdir(parents=True)
    place.write_text(json.dumps({"error": "OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"}))
    found = {one.check: one for one in outcomes.of_probes(new, ["glue"])}
    assert "the batch does not fit: raise `gradient_accumulation`" in found["glue lora/r8, training"].text
    assert "did not run" in found["glue hra/r8-inf, training"].text
    assert "did not run" in found["glue hra/r8-inf, evaluation"].text


def test_rates_come_before_the_config_and_those_of_smoke_first(config, tmp_path):
    every = tasks.load(config)
    rate = probed_with(every["glue"], "hra/r8") | {"stage": "train", "kind": "hra", "seconds_per_row": 0.5}
    rate |= {"device": "NVIDIA H100"}
    cpu = rate | {"device": "CPU: any", "seconds_per_row": 100}
    other = rate | {"kind": "lora", "seconds_per_row": 0.1}
    outcomes.save(tmp_path / "results", rates=[rate, cpu, other])
    estimate = rate | {"by": "a profiler", "seconds_per_row": 0.25, "busy_per_row": 0.1}
    outcomes.save(tmp_path / "results", rates=[estimate])
    real = [rate for rate in estimates.reported(config, every, "rates") if "by" not in rate]
    wildcards = {"task": "glue", "dataset": "cola", "method": "hra", "variant": "r8", "seed": "0"}

    def planned(rates: list[dict], **changes) -> float | None:
        job = planned_jobs.Job("train_glue", wildcards, [], "", work=7200.0)
        return estimates.by_rates(rates, every, dataclasses.replace(job, **{"gpus": 1} | changes))

    start = estimates.STARTUP_SECONDS
    kinds = [wildcards | {"method": name} for name in ("hra", "lora", "full")]
    found = [planned(real, wildcards=one) for one in kinds]
    assert found == pytest.approx([3600.0 + start, 720.0 + start, 2160.0 + start])  # full: the mean of the others
    assert planned(real, rule="evaluate_glue") is None
    assert planned(real, gpus=0, work=36.0) == 3600.0 + estimates.CPU_STARTUP_SECONDS
    # Two runs wait half as long for their hosts, but four not less than their kernels take.
    for runs, seconds in (1, 0.25), (2, 0.125), (4, 0.1):
        assert planned([estimate], runs_per_gpu=runs) == pytest.approx(7200 * seconds + start / runs)
    job = planned_jobs.Job("train_glue", wildcards, [], "", gpus=1)
    for runs in (1, 2):
        job.runs_per_gpu = runs
        estimates.add_estimates(config, [job])
        assert (job.basis, job.seconds) == (estimates.PROBED, pytest.approx(job.work * 0.5 + start / runs))
    (tmp_path / "results/preflight.json").unlink()
    outcomes.save(tmp_path / "results", rates=[estimate])
    estimates.add_estimates(config, [job])
    assert job.basis == "estimated by a profiler"
    (tmp_path / "results/preflight.json").unlink()
    estimates.add_estimates(config, [job])
    assert job.basis == estimates.CONFIGURED
