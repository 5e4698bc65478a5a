"""Real powers of a chain of reflections: identities in float64, and whole models at a strength."""

import copy
import math

import pytest
import sidebyside
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import PeftModel, get_peft_model
from safetensors.torch import load_file
from torch import nn

import hra
from hra.__main__ import main
from hra.reflections import compact
from hra.rewinding import power, power_of_magnitudes


def dense(U):
    return sidebyside.dense(*compact(U))


def chain(n, r, seed, spread):
    """Draw pairs of columns that differ by `spread`, as after training from the paired initialisation."""
    generator = torch.Generator().manual_seed(seed)
    halves = torch.randn(n, r // 2, dtype=torch.float64, generator=generator).repeat_interleave(2, 1)
    return halves + spread * torch.randn(n, r, dtype=torch.float64, generator=generator)


chains = st.builds(
    chain, n=st.integers(8, 24), r=st.sampled_from([2, 4, 6, 8]), seed=st.integers(0, 10**6), spread=st.floats(0, 0.5)
)
strengths = st.floats(0, 1)


def close(left, right):
    torch.testing.assert_close(left, right, rtol=0, atol=1e-9)


@given(chains, strengths)
@settings(deadline=None, max_examples=60)
def test_a_power_is_orthogonal_and_turns_the_same_planes(U, t):
    H, part = dense(U), dense(power(U, t))
    close(part @ part.mT, torch.eye(len(U), dtype=U.dtype))
    close(part @ H, H @ part)


@given(chains, strengths, strengths)
@settings(deadline=None, max_examples=60)
def test_powers_multiply_like_numbers(U, s, t):
    close(dense(power(U, s)) @ dense(power(U, t)), dense(power(U, s + t)))
    close(dense(power(power(U, s), t)), dense(power(U, s * t)))


@given(chains)
@settings(deadline=None, max_examples=30)
def test_the_ends_and_the_inverse(U):
    eye = torch.eye(len(U), dtype=U.dtype)
    close(dense(power(U, 0)), eye)
    assert power(U, 1).equal(U)
    close(dense(power(U, 1 - 1e-12)), dense(U))
    close(dense(power(U, -1)), dense(U).mT)
    half = dense(power(U, 0.5))
    close(half @ half, dense(U))


def test_angles_are_multiplied():
    angle = 1.2  # of the rotation in the plane of the first two axes: twice that between the vectors
    U = torch.zeros(5, 2, dtype=torch.float64)
    U[0, 0] = 1
    U[:2, 1] = torch.tensor([math.cos(angle / 2), math.sin(angle / 2)], dtype=U.dtype)
    for t in (0.25, 0.5, 2):
        cosine = math.cos(t * angle)
        close(dense(power(U, t)).diagonal(), torch.tensor([cosine, cosine, 1, 1, 1], dtype=torch.float64))


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e6])
def test_lengths_equal_planes_and_zero_columns(scale):
    U = chain(12, 6, 0, 0.3)
    U[:, 4:] = 0  # I
    U[6:, :4], U[:6, 2:4] = 0, 0
    U[6:, 2:4] = U[:6, :2]  # the same angle in another plane
    half = dense(power(scale * U, 0.5))
    close(half @ half, dense(U))


def test_more_columns_than_dimensions():
    U = chain(4, 6, 1, 0.2)
    half = dense(power(U, 0.5))
    close(half @ half, dense(U))


@pytest.mark.parametrize(
    "U",
    [chain(10, 8, 0, 0.3)[:, :5], torch.eye(6, dtype=torch.float64)[:, :2], torch.full((6, 2), torch.nan).double()],
    ids=["odd", "180 degrees", "NaN"],
)
def test_without_a_unique_real_power_it_is_refused_for_every_strength(U):
    for t in (0, 0.5, 1, -1):
        with pytest.raises(ValueError, match="eigenvalue of -1"):
            power(U, t)


@pytest.mark.parametrize("t", [math.nan, math.inf])
def test_a_strength_that_is_no_number_is_refused(t):
    with pytest.raises(ValueError, match=rf"finite strength t, found {t}\. Use a number"):
        power(chain(10, 4, 0, 0.3), t)


@pytest.mark.parametrize("shape", [(40,), (2, 2, 10, 4)])
def test_a_parameter_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"expected u of shape \(n, r\) or \(E, n, r\), found .*FSDP1"):
        power(torch.ones(shape), 0.5)


@pytest.mark.parametrize("t", [0.5, 0.01])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_a_small_part_of_a_narrow_adapter_is_not_rounded_away(dtype, t):
    """The angle between the two vectors of a plane is a fraction of what bfloat16 can show."""
    U = chain(64, 4, 0, 0.02).to(dtype)
    part, eye = power(U, t), torch.eye(64, dtype=torch.float64)
    exact = dense(power(U.double(), t)) - eye
    assert part.dtype == torch.float32
    assert (dense(part.double()) - eye - exact).norm() < 64 * torch.finfo(torch.float32).eps
    assert exact.norm() > 5e-4


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 4, 3), nn.Linear(4, 6)

    def forward(self, x):
        return self.linear(self.conv(x).mean((2, 3)))


def adapted(spread=0.3, **options):
    torch.manual_seed(0)
    model = get_peft_model(Model().double(), hra.HRAConfig(r=4, target_modules=["conv", "linear"], **options))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "hra_" in name:
                parameter += spread * torch.randn_like(parameter).clamp(-2, 2)
    return model.eval()


@pytest.fixture
def x():
    return torch.randn(5, 3, 6, 6, dtype=torch.float64)


@pytest.mark.parametrize("ours", [True, False], ids=["ours", "PEFT's"])
def test_a_model_at_a_strength(x, ours):
    if not ours:
        hra.uninstall()
    model = adapted()
    full, base = model(x), model.get_base_model()
    with model.disable_adapter():
        start = model(x)
    weight = base.linear.base_layer.weight
    H = dense(base.linear.hra_u["default"].detach())
    hra.rewind(model, 0.5)
    half = model(x)
    assert not torch.allclose(half, full) and not torch.allclose(half, start)
    H_half = dense(base.linear.hra_u["default"].detach())
    close(weight @ H_half @ H_half, weight @ H)
    hra.rewind(model, 2)
    close(model(x), full)
    hra.rewind(model, 0)
    close(model(x), start)


@pytest.mark.parametrize("ours", [True, False], ids=["ours", "PEFT's"])
def test_a_bfloat16_adapter_at_a_strength_is_float32(x, ours, tmp_path):
    if not ours:
        hra.uninstall()
    model = adapted(0.01).to(torch.bfloat16)
    u = model.get_base_model().linear.hra_u["default"]
    exact = power(u.detach().double(), 0.5)
    model.save_pretrained(tmp_path / "adapter")
    hra.rewind(model, 0.5)
    assert u is model.get_base_model().linear.hra_u["default"] and u.dtype == torch.float32
    torch.testing.assert_close(dense(u.detach().double()), dense(exact), rtol=0, atol=1e-6)
    assert model(x.bfloat16()).dtype == torch.bfloat16
    main(["rewind", str(tmp_path / "adapter"), str(tmp_path / "half"), "0.5"])
    assert load_file(tmp_path / "half/adapter_model.safetensors")["base_model.model.linear.hra_u"].equal(u)


def test_files_merging_and_lora_have_the_strength(x, tmp_path):
    model = adapted()
    hra.rewind(model, 0.25)
    expected = model(x)
    model.save_pretrained(tmp_path / "adapter")
    torch.manual_seed(0)
    close(PeftModel.from_pretrained(Model().double(), tmp_path / "adapter").eval()(x), expected)
    hra.to_lora(model, tmp_path / "lora")
    torch.manual_seed(0)
    close(PeftModel.from_pretrained(Model().double(), tmp_path / "lora").eval()(x), expected)
    close(copy.deepcopy(model).merge_and_unload()(x), expected)


BOTH = {"two_sided": True, "magnitudes": True}


def test_both_sides_and_magnitudes_at_a_strength(x, tmp_path):
    model = adapted(**BOTH)
    full, layer = model(x), model.get_base_model().linear
    with model.disable_adapter():
        start = model(x)

    def factors():
        delta, *us = (one["default"].detach().clone() for one in (layer.hra_magnitudes, layer.hra_u_out, layer.hra_u))
        return 1 + delta, *map(dense, us)

    whole = factors()
    model.save_pretrained(tmp_path / "adapter")
    main(["rewind", str(tmp_path / "adapter"), str(tmp_path / "half"), "0.5"])
    hra.rewind(model, 0.5)
    scale, left, right = half = factors()
    for part, one in zip(half, whole, strict=True):
        close(part @ part if part.dim() == 2 else part * part, one)
    merged = copy.deepcopy(model).merge_and_unload().linear.weight
    close(merged, scale[:, None] * (left @ layer.base_layer.weight @ right))
    torch.manual_seed(0)
    close(PeftModel.from_pretrained(Model().double(), tmp_path / "half").eval()(x), model(x))
    hra.rewind(model, 2)
    close(model(x), full)
    hra.rewind(model, 0)
    close(model(x), start)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_powers_of_magnitudes_multiply_like_numbers_and_are_not_rounded_away(dtype):
    delta = torch.tensor([0.0, 1e-3, -0.75, 3.0]).to(dtype)
    half, small = power_of_magnitudes(delta, 0.5), power_of_magnitudes(delta, 1e-3)
    assert half.dtype == torch.promote_types(dtype, torch.float32)
    torch.testing.assert_close(power_of_magnitudes(half, 2), delta.to(half))
    torch.testing.assert_close(small, (1e-3 * delta.double().log1p()).expm1().to(half), rtol=1e-6, atol=0)
    assert power_of_magnitudes(delta, 1).equal(delta.to(half)) and power_of_magnitudes(delta, 0).eq(0).all()


@pytest.mark.parametrize("value", [-1.0, -1.5, math.nan, math.inf])
@pytest.mark.parametrize("t", [0, 1, 0.5])
def test_magnitudes_without_a_real_power_change_nothing(x, tmp_path, t, value):
    model = adapted(**BOTH)
    model.get_base_model().linear.hra_magnitudes["default"].data[3] = value
    before = [parameter.detach().clone() for parameter in model.parameters()]
    message = rf"linear\.hra_magnitudes: expected finite magnitudes .*, found {1 + value:g}$"
    with pytest.raises(ValueError, match=f"^rewind: .*{message}"):
        hra.rewind(model, t)
    assert all(torch.equal(old, new) or old.isnan().any() for old, new in zip(before, model.parameters(), strict=True))
    model.save_pretrained(tmp_path / "adapter")
    if not math.isfinite(value):
        message = r"_model\.safetensors: expected finite numbers, found NaN or infinity in .*\.linear\.hra_magnitudes\."
    with pytest.raises(SystemExit, match=f"^hra rewind: .*/adapter.*{message}"):
        main(["rewind", str(tmp_path / "adapter"), str(tmp_path / "out"), str(t)])
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_rewound_changes_nothing(x):
    model = adapted()
    with pytest.raises(ValueError, match="adapter 'other', found none"):
        hra.rewind(model, 0.5, "other")
    before = model(x)
    with torch.no_grad():
        model.get_base_model().linear.hra_u["default"].copy_(torch.eye(4))
    expected = model(x)
    with pytest.raises(ValueError, match=r"linear\.hra_u: expected a rotation by angles below 180"):
        hra.rewind(model, 0.5)
    assert model(x).equal(expected) and not expected.equal(before)
    model.merge_adapter()
    with pytest.raises(ValueError, match="unmerged"):
        hra.rewind(model, 0.5)
    with pytest.raises(ValueError, match="λ = ∞"):
        hra.rewind(adapted(apply_GS=True), 0.5)


def test_the_command_writes_an_adapter_at_a_strength(x, tmp_path, capsys):
    model = adapted()
    model.save_pretrained(tmp_path / "adapter")
    main(["rewind", str(tmp_path / "adapter"), str(tmp_path / "half"), "0.5"])
    assert capsys.readouterr().out.startswith(f"wrote {tmp_path}/half: {tmp_path}/adapter at strength 0.5 on 2 layers")
    hra.rewind(model, 0.5)
    torch.manual_seed(0)
    close(PeftModel.from_pretrained(Model().double(), tmp_path / "half").eval()(x), model(x))
    with pytest.raises(SystemExit, match="expected a new or empty folder"):
        main(["rewind", str(tmp_path / "adapter"), str(tmp_path / "half"), "0.25"])
    main(["rewind", str(tmp_path / "half"), str(tmp_path / "more"), "1.5"])
    assert "at strength 1.5 on 2 layers, an extrapolation: 0 is the base model, 1 the" in capsys.readouterr().out
    hra.rewind(model, 1.5)
    torch.manual_seed(0)
    close(PeftModel.from_pretrained(Model().double(), tmp_path / "more").eval()(x), model(x))
    with pytest.raises(SystemExit, match=r"hra rewind: .*hra_u: expected a finite strength t, found nan"):
        main(["rewind", str(tmp_path / "adapter"), str(tmp_path / "quarter"), "nan"])
    adapted(apply_GS=True).save_pretrained(tmp_path / "infinite")
    with pytest.raises(SystemExit, match=r"hra rewind: .*finite λ, found one with λ = ∞"):
        main(["rewind", str(tmp_path / "infinite"), str(tmp_path / "quarter"), "0.25"])
    assert not (tmp_path / "quarter").exists()
