"""Reading of the official scripts' files: comparison with the official layers, round trip, invalid input."""

import itertools

import pytest
import torch
from accelerate.state import AcceleratorState
from diffusers import StableDiffusionPipeline
from peft import PeftModel
from safetensors.torch import load_file

import hra
import ldm_files
from controlled import MODEL, Run, hints, inputs, same_weights, unet_method
from hra.__main__ import main
from hra_workflow.core.errors import JobError
from hra_workflow.models import adapters
from hra_workflow.models.diffusion.stable_diffusion import StableDiffusion
from hra_workflow.tasks.control import model as control_model
from hra_workflow.tasks.control import official_checkpoint


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Provide runs that have moved away from their initialisation."""
    methods = {
        "hra": unet_method(),
        "gram-schmidt": unet_method(peft={"r": 4, "apply_GS": True}),
    }
    runs = {name: Run(tmp_path_factory.mktemp(name), method) for name, method in methods.items()}
    for run in runs.values():
        run.train()
    AcceleratorState._reset_state(reset_partial_state=True)
    return runs


def official(state: dict, gram_schmidt: bool):
    """Build a UNet with the weights of the official layers, and the official hint encoder (hra.py, oft_ldm.py)."""
    unet = StableDiffusion(MODEL).load()
    names = ldm_files.names("unet", unet)
    weights = {}
    for name, ldm in names.items():
        layer, _, kind = ldm.rpartition(".")
        weights[name] = state.get(ldm, state.get(f"{layer}.fixed_linear.{kind}"))
        if kind == "weight" and f"{layer}.hra_u" in state:
            u = state[f"{layer}.hra_u"].double()
            vectors = torch.linalg.qr(u).Q if gram_schmidt else u / u.norm(dim=0)
            for vector in vectors.T:
                weights[name] = weights[name].double() @ (torch.eye(len(u)) - 2 * torch.outer(vector, vector))
    unet.load_state_dict(weights)
    sizes = [3, 16, 16, 32, 32, 96, unet.config.block_out_channels[0]]
    encoder = torch.nn.Sequential()
    for place, (inputs_, outputs) in enumerate(itertools.pairwise(sizes)):
        encoder.append(torch.nn.Conv2d(inputs_, outputs, 3, padding=1, stride=2 if place in (2, 4) else 1))
        encoder.append(torch.nn.SiLU())
    prefix = official_checkpoint.HINT
    encoder[:-1].load_state_dict({n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)})
    unet.conv_in.register_forward_hook(lambda module, _, output: output + encoder[:-1](hints()))
    return unet


@pytest.mark.parametrize("kind", ["hra", "gram-schmidt"])
def test_what_is_read_computes_the_same_as_the_official_layers(trained, tmp_path, kind):
    run, path = trained[kind], tmp_path / "whole.ckpt"
    state = ldm_files.official(run)
    ldm_files.write(state, path)
    official_checkpoint.read(path, MODEL, run.method, tmp_path / "adapter").save_pretrained(tmp_path / "base")
    found = control_model.load_trained(tmp_path / "base", run.method, tmp_path / "adapter" / adapters.WEIGHTS)
    with torch.no_grad():
        expected = official(state, kind == "gram-schmidt")(*inputs()).sample
        assert torch.allclose(found(*inputs(), hint=hints()).sample, expected, atol=1e-4)
        assert not torch.allclose(found(*inputs(), hint=1 - hints()).sample, expected, atol=1e-3)


@pytest.mark.parametrize("suffix", ["ckpt", "safetensors"])
def test_the_whole_checkpoint_comes_back_as_base_and_adapter(trained, tmp_path, suffix):
    run, path = trained["hra"], tmp_path / f"whole.{suffix}"
    ldm_files.write(ldm_files.official(run), path)
    method = {key: run.method[key] for key in ("kind", "peft", "targets")}  # docs/from-the-official-code.md
    base = official_checkpoint.read(path, MODEL, method, tmp_path / "adapter")
    assert same_weights(StableDiffusionPipeline.from_pretrained(MODEL, dtype=torch.float32), base)
    first, second = (load_file(place) for place in (run.last, tmp_path / "adapter" / adapters.WEIGHTS))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    base.save_pretrained(tmp_path / "base")
    again = control_model.load_trained(tmp_path / "base", method, tmp_path / "adapter" / adapters.WEIGHTS)
    with torch.no_grad():
        expected = control_model.load_trained(MODEL, run.method, run.last)(*inputs(), hint=hints()).sample
        assert torch.equal(again(*inputs(), hint=hints()).sample, expected)


def test_the_library_reads_the_adapter_of_the_whole_checkpoint(trained, tmp_path):
    run, path = trained["hra"], tmp_path / "whole.ckpt"
    ldm_files.write(ldm_files.official(run), path)
    expected = {name: u for name, u in load_file(run.last).items() if name.endswith(".hra_u")}
    _, found = hra.from_official(path)
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)


def test_as_lora_a_run_keeps_its_hint_encoder(trained, tmp_path):
    run = trained["hra"]
    arguments = [str(run.folder / "run/last"), str(tmp_path / "out"), "--base", str(MODEL / "unet")]
    main(["to-lora", *arguments])
    lora = PeftModel.from_pretrained(control_model.load(MODEL, run.method), tmp_path / "out")
    with torch.no_grad():
        expected = control_model.load_trained(MODEL, run.method, run.last)(*inputs(), hint=hints()).sample
        assert torch.allclose(lora(*inputs(), hint=hints()).sample, expected, atol=1e-5)
        assert not torch.allclose(lora(*inputs(), hint=1 - hints()).sample, expected, atol=1e-3)


def test_a_run_without_its_hint_encoder_is_refused(trained, tmp_path):
    run = trained["hra"]
    arguments = [str(run.folder / "run/last"), str(tmp_path / "out"), "--base", str(MODEL / "unet")]
    with pytest.raises(SystemExit, match=r"12 weights such as base_model\.model\.hint_encoder\..*would lack them"):
        main(["merge", *arguments])
    bare = PeftModel.from_pretrained(StableDiffusion(MODEL).load(), run.folder / "run/last")
    with pytest.raises(ValueError, match=r"expected the module hint_encoder.*found none in PeftModel"):
        hra.to_lora(bare, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("changes", [{"peft": {"r": 8}}, {"targets": ["to_q"]}])
def test_another_method_than_the_file_s_is_refused(trained, tmp_path, changes):
    run, path = trained["hra"], tmp_path / "whole.safetensors"
    ldm_files.write(ldm_files.official(run), path)
    with pytest.raises(JobError, match=r"does not match the method: base_model.*correct r or the targets"):
        official_checkpoint.read(path, MODEL, unet_method(**changes), tmp_path / "adapter")
