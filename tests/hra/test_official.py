"""Conversion of the official repository's checkpoints to PEFT adapters."""

import copy

import pytest
import torch
from peft import PeftModel
from safetensors.torch import save_file
from sidebyside import close

import hra
import ldm_files
from support import lightning_callback

ATTENTION = "transformer_blocks.0.attn1.to_out.0"


def official(x, weight, u, apply_GS):
    """Compute the layers' outputs as in the paper: W H_1 ... H_r x, one reflection at a time."""
    if apply_GS:
        u = torch.linalg.qr(u)[0]
    for v in u.T:
        weight = weight - 2 * torch.outer(weight @ v, v) / v.dot(v)
    return x @ weight.T


def control_checkpoint(layers_per_block: int, attends: str) -> tuple[dict, dict]:
    """Build the UNet of a control checkpoint and map its adapted layers to diffusers' names.

    `attends`: one character per resolution, X with attention.
    """
    from diffusers import UNet2DConditionModel

    kinds = [{"X": "CrossAttn", "-": ""}[one] for one in attends]
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(4,) * len(attends),
            layers_per_block=layers_per_block,
            down_block_types=tuple(f"{kind}DownBlock2D" for kind in kinds),
            up_block_types=tuple(f"{kind}UpBlock2D" for kind in reversed(kinds)),
            cross_attention_dim=4,
            attention_head_dim=2,
            norm_num_groups=2,
        )
    state, adapted = {}, {}
    for name, ldm in ldm_files.of_unet(list(unet.state_dict()), layers_per_block).items():
        layer = ldm.removesuffix(".weight")
        if name.endswith((f"{ATTENTION}.weight", "ff.net.0.proj.weight")):
            adapted[layer] = name.removesuffix(".weight")
            state |= {f"{layer}.hra_u": torch.randn(4, 2), f"{layer}.fixed_linear.weight": torch.zeros(4, 4)}
        else:
            state[ldm] = torch.zeros(1)
    return state, adapted


@pytest.mark.parametrize("layers_per_block", [1, 2, 3])
@pytest.mark.parametrize("attends", ["XXX-", "-XX", "X", "X-"])
def test_control_checkpoint_takes_the_names_of_diffusers(layers_per_block, attends):
    state, adapted = control_checkpoint(layers_per_block, attends)
    config, converted = hra.from_official(state)
    assert config.target_modules == set(adapted.values())
    for layer, name in adapted.items():
        assert torch.equal(converted[f"base_model.model.{name}.hra_u"], state[f"{layer}.hra_u"])
    config, _ = hra.from_official(state, diffusers_names=False)
    assert config.target_modules == set(adapted)


def test_vectors_alone_are_those_of_stable_diffusion_or_refused():
    for layers_per_block, attends in ((2, "XXX-"), (1, "XXX-"), (2, "XX-")):
        state, adapted = control_checkpoint(layers_per_block, attends)
        vectors = {name: one for name, one in state.items() if name.endswith("hra_u")}
        if attends == "XXX-" and layers_per_block == 2:
            assert hra.from_official(vectors)[0].target_modules == set(adapted.values())
        else:
            with pytest.raises(ValueError, match=r"expected a complete UNet.*found the blocks"):
                hra.from_official(vectors)


def test_unets_that_diffusers_has_no_names_for_are_refused():
    state, _ = control_checkpoint(2, "XX-")
    unet = "model.diffusion_model."

    def without(part: str) -> dict:
        return {name: one for name, one in state.items() if not name.startswith(unet + part)}

    def refused(state: dict, found: str) -> None:
        with pytest.raises(ValueError, match=rf"found {found}.*diffusers_names=False"):
            hra.from_official(state)

    refused(without("input_blocks.8."), r"the blocks \[0, 1, 2, 3, 4, 5, 6, 7\] of the encoder and \[0,")
    refused(without("output_blocks.1."), "the blocks")
    refused(
        state | {f"{unet}input_blocks.7.0.in_layers.2.hra_u": torch.randn(4, 2)},
        r".*in_layers\.2, which is not in an attention",
    )


def test_control_checkpoint_of_lightning_is_read_and_runs_nothing(tmp_path, monkeypatch):
    state, adapted = control_checkpoint(2, "XXX-")
    with monkeypatch.context() as patch:
        stored = lightning_callback(patch)
        torch.save({"state_dict": state, "epoch": 3, "callbacks": {stored: {}}}, tmp_path / "last.ckpt")
    assert hra.from_official(tmp_path / "last.ckpt")[0].target_modules == set(adapted.values())
    torch.save({"state_dict": state, "made": print}, tmp_path / "code.ckpt")
    with pytest.raises(ValueError, match=r"other objects in .*code\.ckpt.*not loaded") as refusal:
        hra.from_official(tmp_path / "code.ckpt")
    assert "weights_only" not in str(refusal.value)


def test_subject_checkpoint_names_the_layers_behind_the_processors():
    block = "mid_block.attentions.0.transformer_blocks.0.attn2"
    state = {f"{block}.processor.{name}_hra.hra_u": torch.randn(6, 4) for name in ("to_q", "to_out")}
    config, _ = hra.from_official(state)
    assert config.target_modules == {f"{block}.to_q", f"{block}.to_out.0"}


@pytest.mark.parametrize("apply_GS", [False, True])
def test_nlu_checkpoint_loads_and_computes_what_the_official_layer_does(net, tmp_path, apply_GS):
    u, x = torch.randn(12, 4), torch.randn(6, 12)
    save_file({"second.hra_u": u, "second.weight": net.second.weight.data}, tmp_path / "official.safetensors")
    hra.from_official(tmp_path / "official.safetensors", tmp_path / "adapter", apply_GS=apply_GS)
    model = PeftModel.from_pretrained(copy.deepcopy(net), tmp_path / "adapter")
    expected = official(x, net.second.weight, u, apply_GS) + net.second.bias
    close(model.base_model.model.second(x), expected, 12)


def test_official_files_that_cannot_be_converted_are_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"multiplies the output side.*not orthogonal"):
        hra.from_official({"base_model.model.q_proj.oft_r": torch.zeros(8, 4)})
    with pytest.raises(ValueError, match="keys that end in `hra_u`"):
        hra.from_official({"q_proj.weight": torch.zeros(8, 4)})
    with pytest.raises(ValueError, match="one r"):
        hra.from_official({"a.hra_u": torch.zeros(8, 4), "b.hra_u": torch.zeros(8, 2)})
    with pytest.raises(ValueError, match=r"a\.hra_u to be \(n, r\) .* found torch\.float32 of shape \(8,\)"):
        hra.from_official({"a.hra_u": torch.zeros(8)})
    with pytest.raises(ValueError, match=r"a\.hra_u to be .* with NaN or infinity"):
        hra.from_official({"a.hra_u": torch.full((8, 4), torch.nan)})
    torch.save([1, 2], tmp_path / "list.pt")
    for junk, found in ((3, "int"), ({1: 2}, "other keys"), (tmp_path / "list.pt", "list")):
        with pytest.raises(ValueError, match=rf"expected a checkpoint file or its state dict, .* found {found}$"):
            hra.from_official(junk)
    for junk, found in ((3, "int"), (torch.zeros(4, 2, dtype=torch.int64), r"torch\.int64")):
        with pytest.raises(ValueError, match=rf"a\.hra_u to be \(n, r\) finite floating-point numbers, found {found}"):
            hra.from_official({"a.hra_u": junk})
    for name in ("junk.ckpt", "junk.safetensors"):
        (tmp_path / name).write_bytes(b"neither of them")
        with pytest.raises(ValueError, match=rf"found .*{name} in another format or damaged\. Copy or download"):
            hra.from_official(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"found a folder at .*\. Pass the path of a \.ckpt"):
        hra.from_official(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"found nothing at /.*\. Pass the path of a \.ckpt"):
        hra.from_official(tmp_path / "missing.ckpt")
