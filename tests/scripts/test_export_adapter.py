"""Export for the Hub: the adapter and its LoRA load with stock PEFT, and the card is valid."""

import ast
import re
from pathlib import Path

import numpy
import pytest
import torch
from huggingface_hub import ModelCard, ModelCardData, constants
from peft import PeftModel
from transformers import AutoModelForCausalLM

import chat_models
import controlled
import evaluate_glue
import export_adapter
import hra
import rule_jobs
import sums
from hra_workflow import methods, tasks
from hra_workflow.core import files
from hra_workflow.core.errors import JobError
from hra_workflow.models import causal_lm, classifier
from hra_workflow.models.diffusion import sampling as diffusion_sampling
from hra_workflow.tasks import requested_run
from hra_workflow.tasks.control import data as control_data
from hra_workflow.tasks.control.sampling import Sampler
from predicted import READING, answering, predict
from subjects import SAMPLING, unet_method
from support import downloaded, method, paper_config

COMMIT = "c" * 40
REPORTED = {"source": {"kind": "hub", "repo": "nyu-mll/glue"}, "revision": COMMIT}
PUBLISHED = {"source": {"kind": "hub", "repo": "someone/tiny"}, "revision": COMMIT}  # of a base model on the Hub


@pytest.fixture(autouse=True)
def in_a_project(tmp_path, monkeypatch):
    """Paths on a card are relative to the working directory."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """Return a function that puts the files of a model where the Hub's client caches those of PUBLISHED, offline."""
    snapshot = tmp_path / f"cache/models--someone--tiny/snapshots/{COMMIT}"
    snapshot.parent.mkdir(parents=True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return lambda manifest: snapshot.symlink_to(manifest.removesuffix(".manifest.json")) or snapshot


def pasted(folder) -> dict:
    """Run the code of a card as it stands; return its names."""
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    names: dict = {}
    hra.uninstall()
    try:
        exec(code, names)
    finally:
        hra.install()
    return names


def exported(*given):
    """Export the best weights of a run; return the folder."""
    job = exporting(*given)
    export_adapter.main(job)
    return Path(job["output"]["card"]).parent


def exporting(run, tmp_path, changes: dict) -> dict:
    """Train and evaluate a run; return the job that exports its best weights. changes: of manifests, by name."""
    rule_jobs.train(run)
    evaluate_glue.main(run.evaluate)
    inputs = {"record": run.train["output"]["record"], "adapter": run.weights["best"]}
    for name, path in run.tiny.items():
        inputs[name] = path.replace(".manifest.json", ".published.manifest.json")
        files.write_json(inputs[name], files.read_json(path) | changes.get(name, {}))
    inputs["metrics"] = {run.evaluate["output"]["metrics"]: {}}
    to_lora = methods.METHODS[run.method["kind"]].adapter.to_lora
    given = {"label": "HRA, r=4", "settings": {"reading": READING}, "to_lora": to_lora}
    glue = str(tmp_path / "glue.manifest.json")
    files.write_json(glue, files.read_json(inputs["dataset"]) | REPORTED)
    benchmark = {"benchmark": "validation", "split": "dev", "reported": glue, "dataset": "pairs", "train": glue}
    given |= {"benchmarks": [benchmark]}
    job = run.job("export_adapter", {}, {"card": tmp_path / "hub/README.md"}, **inputs, **given)
    return job | {"wildcards": run.wildcards | {"weights": "best"}}


def logits(run, folder):
    """Compute with stock PEFT, from a base model whose own head is another one."""
    hra.uninstall()
    try:
        base, _ = classifier.load_model(run.tiny["model"].removesuffix(".manifest.json"), run.dataset["labels"], seed=9)
        model = PeftModel.from_pretrained(base, folder).eval()
        assert not any(type(one).__module__.startswith("hra.") for one in model.modules())
        with torch.inference_mode():
            return model(input_ids=torch.arange(3, 35).reshape(2, 16)).logits
    finally:
        hra.install()


def test_an_adapter_of_hra_and_its_lora_load_with_stock_peft(make_run, tmp_path, cached):
    run = make_run(method("hra"))
    changes = {"model": PUBLISHED | {"license": "MIT"}, "dataset": {"license": "CC, see there"}}
    folder = exported(run, tmp_path, changes)
    expected = logits(run, run.folder / "run/best")
    assert expected.std() > 1e-4
    assert torch.equal(logits(run, folder), expected)
    torch.testing.assert_close(logits(run, folder / "lora"), expected, atol=1e-5, rtol=1e-4)
    for place in (folder, folder / "lora"):
        config = files.read_json(place / "adapter_config.json")
        assert (config["base_model_name_or_path"], config["revision"]) == ("someone/tiny", COMMIT)
    assert files.read_json(folder / "train.json") == files.read_json(run.train["output"]["record"])

    card = ModelCard.load(folder / "README.md")
    data = ModelCardData(**card.data.to_dict())  # an error for invalid results
    assert (data.license, data.base_model, data.library_name) == ("mit", "someone/tiny", "peft")
    found = files.read_json(run.evaluate["output"]["metrics"])["selections"]["best_on_dev"]["metrics"]
    shown = {one.metric_type: one.metric_value for one in data.eval_results}
    assert shown == {name: value["value"] for name, value in found.items()}
    # They name the benchmark, not the training set.
    assert {(one.dataset_type, one.dataset_revision) for one in data.eval_results} == {("nyu-mll/glue", COMMIT)}
    for text in ("CC, see there", "| learning_rate | 0.005 |", "@inproceedings{yuan2024hra", f"revision='{COMMIT}'"):
        assert text in card.text, text
    assert str(tmp_path) not in card.content and not re.search(r"\{\{|\{%", card.content)
    cached(run.tiny["model"])
    names = pasted(folder)
    with torch.inference_mode():
        assert torch.equal(names["model"](input_ids=torch.arange(3, 35).reshape(2, 16)).logits, expected)


def test_another_adapter_has_no_lora_and_a_local_model_no_address(make_run, tmp_path, capsys):
    run = make_run(method("oft"), precision="bf16")  # the precision of `hra-workflow predict` and of the card's code
    folder = exported(run, tmp_path, {})
    card = ModelCard.load(folder / "README.md")
    assert not (folder / "lora").exists() and "lora" not in card.text
    assert card.data.base_model is None and card.text.count("not on the Hugging Face Hub") == 1
    assert files.read_json(folder / "adapter_config.json")["base_model_name_or_path"] is None
    capsys.readouterr()
    pasted(folder)
    shown = ast.literal_eval(capsys.readouterr().out)
    (tmp_path / "new.csv").write_text("sentence\nsentence\n")  # the text of the card's code
    (row,) = predict(run, {"texts": tmp_path / "new.csv"}, {"reading": READING}, "best")
    assert shown == pytest.approx({label: float(row[f"p_{label}"]) for label in run.dataset["labels"]}, abs=1e-7)


def export_unevaluated(run, folder, settings: dict):
    """Export the last weights of a run that was not evaluated, of a model on the Hub; return folder and card."""
    model = run.tiny["model"].replace(".manifest.", ".published.manifest.")
    files.write_json(model, files.read_json(run.tiny["model"]) | PUBLISHED)
    params = {"model": model, "dataset": run.tiny["dataset"], "label": "HRA", "settings": settings, "metrics": {}}
    params |= {"record": str(run.folder / "run/train.json"), "adapter": run.weights["last"]}
    job = run.job("export_adapter", {}, {"card": folder / "README.md"}, **params, to_lora="hra.conversion:to_lora")
    export_adapter.main(job | {"wildcards": run.wildcards | {"weights": "last"}})
    card = ModelCard.load(job["output"]["card"])
    assert "These weights were not evaluated." in card.text
    return folder, card


class ChatRun(sums.MathRun):
    GIVEN = sums.MathRun.GIVEN | {"prompt": chat_models.CHAT}


@pytest.mark.slow
def test_a_chat_model(tmp_path, capsys, cached):
    """Test with tied embeddings and several end tokens."""
    sums.write_sums(tmp_path / "raw")
    given = downloaded(tmp_path, chat_models.source("gemma3_text"), "math/sums", sums.SUMS)
    run = ChatRun(tmp_path / "run", given, sums.math_method("hra"), max_length=96, learning_rate=2e-2).started()
    rule_jobs.train(run)
    settings = answering(run) | {"max_new_tokens": 16}
    folder, card = export_unevaluated(run, tmp_path / "hub", settings)
    assert card.data.pipeline_tag == "text-generation"
    base, ids = cached(given["model"]), torch.arange(30, 60)[None]
    merged = causal_lm.load_run(base, run.method, run.last, "float32", "cpu", merge=True)
    assert merged.lm_head.weight is merged.model.embed_tokens.weight
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder / "lora")
    with torch.inference_mode():
        torch.testing.assert_close(model(input_ids=ids).logits, merged(input_ids=ids).logits, atol=1e-4, rtol=1e-4)
    capsys.readouterr()
    pasted(folder)
    shown = capsys.readouterr().out
    (question,) = re.findall(r'^question = "(.*)"$', card.text, re.MULTILINE)
    (tmp_path / "new.csv").write_text(f"query\n{question}\n")
    (row,) = predict(run, {"prompts": tmp_path / "new.csv"}, settings)
    assert shown == row["output"] + "\n"


def shows(image, sampler, prompt: str, *further: list) -> None:
    """Check that an image is what the workflow generates from the same noise, to two grey levels."""
    ((expected, _),) = sampler.draw([prompt], [0], *further)
    apart = numpy.abs(numpy.asarray(image, int) - numpy.asarray(expected, int))
    assert numpy.asarray(expected).std() > 1 and apart.max() <= 2


@pytest.mark.slow
def test_a_diffusion_model(make_subject_run, tmp_path, cached):
    run = make_subject_run(unet_method())
    rule_jobs.train(run)
    folder, card = export_unevaluated(run, tmp_path / "hub", {"sampling": SAMPLING})
    assert card.data.pipeline_tag == "text-to-image" and "“a photo of a qwe ball”: “qwe ball” stands" in card.text
    assert "load_lora_weights" in card.text
    sampler = diffusion_sampling.Sampler(cached(run.tiny["model"]), SAMPLING | {"scheduler": "model"}, "cpu")
    names = pasted(folder)
    sampler.use(run.method, run.last)
    shows(names["image"], sampler, "a photo of qwe ball on the beach")


@pytest.mark.slow
def test_a_diffusion_model_with_control_images(tmp_path, make_control_run, tiny_control, cached):
    run = make_control_run(controlled.unet_method("hra"))
    rule_jobs.train(run)
    control = control_data.open_split(tiny_control["canny"], "validation")[0][2]
    control.save(tmp_path / "control.png")
    sampling = controlled.SAMPLING | {"prompt_suffix": "", "inference_steps": 2}
    folder, card = export_unevaluated(run, tmp_path / "hub", {"sampling": sampling})
    assert card.data.pipeline_tag == "image-to-image"
    sampler = Sampler(cached(run.tiny["model"]), sampling, "cpu")
    names = pasted(folder)
    sampler.use(run.method, run.last)
    shows(names["image"], sampler, "a prompt", [control])


def test_a_head_that_is_a_part_of_the_model_is_refused():
    with pytest.raises(JobError, match="which are a part of the model"):
        requested_run.exported(tasks.load(paper_config())["glue"], "head/linear", "last")
