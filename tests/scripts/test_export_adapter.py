"""Export for the Hub: the adapter and its LoRA load with stock PEFT, and the card is valid."""

import json

import pytest
import torch
from huggingface_hub import ModelCard, ModelCardData
from safetensors.torch import load_file

import export_adapter
import hra
from hra_workflow import methods, tasks
from hra_workflow.core import files
from hra_workflow.core.errors import JobError
from hra_workflow.models import adapters
from subjects import unet_method
from sums import math_method
from support import method, paper_config

HUB = {"kind": "hub", "repo": "someone/tiny-bert", "revision": "main", "files": {}}
LOADING = "from transformers import AutoModelForSequenceClassification\n\nmodel = …from_pretrained({base})"


def exported(run, tmp_path, changes: dict):
    """Export the best weights of a trained run; `changes`: of the manifests of model and dataset, by name."""
    import evaluate_glue
    import train_glue

    train_glue.main(run.train)
    evaluate_glue.main(run.evaluate)
    inputs = {"record": run.train["output"]["record"], "adapter": run.weights["best"]}
    for name, path in run.tiny.items():
        inputs[name] = path.replace(".manifest.json", ".published.manifest.json")
        files.write_json(inputs[name], files.read_json(path) | changes.get(name, {}))
    inputs["metrics"] = [run.evaluate["output"]["metrics"]]
    given = {"label": "HRA, r=4", "labels": run.dataset["labels"]}
    given |= {"pipeline_tag": "text-classification", "loading": LOADING, "to_lora": to_lora(run)}
    job = run.job("export_adapter", {}, {"card": tmp_path / "hub/README.md"}, **inputs, **given)
    export_adapter.main(job | {"wildcards": run.wildcards | {"weights": "best"}})
    return tmp_path / "hub"


def to_lora(run) -> str | None:
    return methods.METHODS[run.train["params"]["method"]["kind"]].adapter.to_lora


def logits(run, folder):
    """Compute with stock PEFT, from a base model whose own head is another one."""
    from peft import PeftModel

    hra.uninstall()
    try:
        base = adapters.load_classifier(run.tiny["model"].removesuffix(".manifest.json"), run.dataset["labels"], seed=9)
        model = PeftModel.from_pretrained(base, folder).eval()
        assert not any(type(one).__module__.startswith("hra.") for one in model.modules())
        with torch.inference_mode():
            return model(input_ids=torch.arange(3, 35).reshape(2, 16)).logits
    finally:
        hra.install()


def test_an_adapter_of_hra_and_its_lora_load_with_stock_peft(make_run, tmp_path):
    run = make_run(method("hra"))
    changes = {
        "model": {"source": HUB, "revision": "c" * 40, "license": "MIT"},
        "dataset": {"license": "CC, see there"},
    }
    folder = exported(run, tmp_path, changes)
    expected = logits(run, run.folder / "run/best")
    assert expected.std() > 1e-4
    assert torch.equal(logits(run, folder), expected)
    torch.testing.assert_close(logits(run, folder / "lora"), expected, atol=1e-5, rtol=1e-4)
    for place in (folder, folder / "lora"):
        config = json.loads((place / "adapter_config.json").read_text())
        assert (config["base_model_name_or_path"], config["revision"]) == (HUB["repo"], "c" * 40)
    assert load_file(folder / adapters.WEIGHTS).keys() == load_file(run.weights["best"]).keys()
    assert files.read_json(folder / "train.json") == files.read_json(run.train["output"]["record"])

    card = ModelCard.load(folder / "README.md")
    data = ModelCardData(**card.data.to_dict())  # an error for invalid results
    assert (data.license, data.base_model, data.library_name) == ("mit", HUB["repo"], "peft")
    found = files.read_json(run.evaluate["output"]["metrics"])["selections"]["best_on_dev"]["metrics"]
    assert [(one.metric_type, one.metric_value) for one in data.eval_results] == [
        (name, value["value"]) for name, value in found.items()
    ]
    for text in (
        "CC, see there",
        "negative, positive",
        "| learning_rate | 0.005 |",
        "optimistic",
        f"revision='{'c' * 40}'",
    ):
        assert text in card.text, text
    assert str(tmp_path) not in card.content and "{" not in card.content.partition("```bibtex")[0]


def test_another_adapter_has_no_lora_and_a_local_model_no_address(make_run, tmp_path):
    run = make_run(method("oft"))
    folder = exported(run, tmp_path, {})
    card = ModelCard.load(folder / "README.md")
    assert not (folder / "lora").exists() and "lora" not in card.text
    assert card.data.base_model is None and "which is not on the Hugging Face Hub" in card.text
    assert files.read_json(folder / "adapter_config.json")["base_model_name_or_path"] is None
    torch.testing.assert_close(logits(run, folder), logits(run, run.folder / "run/best"), atol=0, rtol=0)


def unevaluated(run, tmp_path, pipeline_tag: str):
    """Export the last weights of a run that was not evaluated."""
    inputs = {"record": run.train["output"]["record"], "adapter": run.weights["last"], "metrics": []} | run.tiny
    given = {"label": "HRA", "labels": None, "pipeline_tag": pipeline_tag, "loading": "", "to_lora": to_lora(run)}
    job = run.job("export_adapter", {}, {"card": tmp_path / "hub/README.md"}, **inputs, **given)
    export_adapter.main(job | {"wildcards": run.wildcards | {"weights": "last"}})
    card = ModelCard.load(tmp_path / "hub/README.md")
    assert card.data.pipeline_tag == pipeline_tag and "These weights were not evaluated." in card.text
    return tmp_path / "hub"


@pytest.mark.slow
def test_a_language_model(make_math_run, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    import train_math

    run = make_math_run(math_method("hra"), epochs=0.5)
    train_math.main(run.train)
    folder, found = unevaluated(run, tmp_path, "text-generation"), []
    for place in (folder, folder / "lora"):
        base = AutoModelForCausalLM.from_pretrained(run.tiny["model"].removesuffix(".manifest.json"))
        with torch.inference_mode():
            found.append(PeftModel.from_pretrained(base, place)(input_ids=torch.arange(3, 19)[None]).logits)
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_a_diffusion_model(make_subject_run, tmp_path):
    from diffusers import StableDiffusionPipeline
    from peft import PeftModel

    import train_subject

    run = make_subject_run(unet_method())
    train_subject.main(run.train)
    folder, found = unevaluated(run, tmp_path, "text-to-image"), []
    assert (folder / "lora/pytorch_lora_weights.safetensors").exists()
    for place in (folder, folder / "lora"):
        base = StableDiffusionPipeline.from_pretrained(run.tiny["model"].removesuffix(".manifest.json")).unet
        model = PeftModel.from_pretrained(base, place)
        torch.manual_seed(0)
        sample = torch.randn(1, 4, base.config.sample_size, base.config.sample_size)
        text = torch.randn(1, 7, base.config.cross_attention_dim)
        with torch.inference_mode():
            found.append(model(sample, 5, text).sample)
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-4)


def test_what_peft_cannot_load_is_refused():
    config = paper_config()
    for task, run, reason in (
        ("glue", "full/all", "expected an adapter of PEFT"),
        ("glue", "head/linear", "kind head, which are a part of the model"),
        ("control", "hra/r8", "includes layers that PEFT cannot add"),
    ):
        with pytest.raises(JobError, match=reason):
            tasks.load(config)[task].usage.exported(run, "last")
    assert tasks.load(config)["subject"].usage.exported("hra/r8", "last") == "last"
