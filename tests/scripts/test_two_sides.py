"""HRA with reflections on both sides: what the config allows, what is inserted, and whole runs."""

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file

from hra_workflow import methods, tasks
from hra_workflow.config import validation
from hra_workflow.core import grid
from hra_workflow.models import adapters, classifier
from hra_workflow.models.diffusion import exports
from hra_workflow.preflight import probe
from support import method, paper_config
from test_export_adapter import PUBLISHED, cached, exported, in_a_project, pasted  # noqa: F401 # two fixtures
from test_peft_types import config_with, tiny_models, trained_resumed_and_reloaded  # noqa: F401 # a fixture

BOTH = {"r": 4, "two_sided": True}


def test_the_figure_over_lambda_joins_only_runs_of_one_form():
    config = paper_config()
    variants = config["methods"]["hra"]["variants"]
    variants["scaled"] = variants["r8"] | {"peft": {"r": 8, "init_scale": 0.1}}
    runs = [f"hra/{name}" for name in ("r8", "r4-two-sided", "scaled")]
    config["tasks"]["glue"]["grid"] = [{"runs": runs, "datasets": ["rte"], "seeds": [0]}]
    series = [one["series"] for one in methods.lambdas(config, "glue").values()]
    assert series == ["r=8", "r=4+4", "r=8, initial scale 0.1"]


@pytest.mark.parametrize("task", sorted(tasks.classes()))
def test_the_shipped_variants_run_on_every_task_and_have_probes_of_their_own(task):
    config = paper_config()
    block = config["tasks"][task]["grid"][-1]
    runs = ["hra/r8", "hra/r4-two-sided"]
    assert not set(runs[1:]) & set(grid.run_names(config, task))
    config["tasks"][task]["grid"] = [block | {"runs": runs, "seeds": [0]}]
    validation.check(config)
    assert set(probe.runs(tasks.load(config)[task])) == set(runs)


def test_a_run_trains_resumes_and_reloads(tiny_models, tmp_path):  # noqa: F811
    tiny = tiny_models["causal_lm"]
    chosen = method("hra", peft=BOTH, targets=tiny.targets)
    trained_resumed_and_reloaded(tiny, chosen, tmp_path)
    state = load_file(tmp_path / "last" / adapters.WEIGHTS)
    assert {name.rpartition(".")[-1] for name in state} >= {"hra_u", "hra_u_out"}


def test_both_sides_have_the_parameters_of_lora(tiny_models):  # noqa: F811
    tiny = tiny_models["causal_lm"]
    chosen = method("hra", peft=BOTH, targets=tiny.targets)
    lora = method("lora", peft={"r": 4}, targets=tiny.targets)
    counts = [adapters.count(adapters.insert(tiny.fresh(), one), []) for one in (chosen, lora)]
    assert counts[0] == counts[1]


def test_the_card_s_code_loads_the_equivalent_adapter_with_stock_peft(make_run, tmp_path, cached):  # noqa: F811
    run = make_run(method("hra", peft=BOTH))
    folder = exported(run, tmp_path, {"model": PUBLISHED})
    card = ModelCard.load(folder / "README.md")
    assert "Stock PEFT refuses the adapter" in card.text and "Stock PEFT loads the adapter" not in card.text
    assert "Its rank is 8" in card.text and "hra" in card.data.tags and "@inproceedings{yuan2024hra" in card.text
    x = torch.arange(3, 35).reshape(2, 16)
    base, _ = classifier.load_model(run.tiny["model"].removesuffix(".manifest.json"), run.dataset["labels"], seed=9)
    with torch.inference_mode():
        expected = adapters.load(base, run.train["params"]["method"], run.folder / "run/best")(input_ids=x).logits
        cached(run.tiny["model"])
        found = pasted(folder)["model"](input_ids=x).logits
    assert expected.std() > 1e-4
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_a_dora_is_not_written_for_comfyui(tmp_path):
    state = {"unet.to_q.lora_A.weight": torch.zeros(2, 4), "unet.to_q.lora_B.weight": torch.zeros(4, 2)}
    save_file(state, tmp_path / exports.DIFFUSERS)
    assert exports.write_kohya(tmp_path) is None
    (tmp_path / exports.KOHYA).unlink()
    save_file(state | {"unet.to_q.lora_magnitude_vector.weight": torch.ones(4)}, tmp_path / exports.DIFFUSERS)
    assert "is a DoRA" in exports.write_kohya(tmp_path) and not (tmp_path / exports.KOHYA).exists()
