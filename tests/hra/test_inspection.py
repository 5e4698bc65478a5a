"""`hra inspect`: what an adapter does to each layer."""

import copy

import peft
import pytest
import sidebyside
import torch
from peft import get_peft_model
from safetensors.torch import load_file, save_file
from sidebyside import Net, adapt
from torch import nn

import hra
from hra.__main__ import main
from hra.display import ROTATION, figure_name, table
from hra.inspection import adapted_layers, measure, measure_update
from hra.reflections import compact


@pytest.fixture
def llama(tmp_path):
    """Provide a folder with a tiny base model, and save(name, config) for adapters of it."""
    base = sidebyside.llama()
    base.save_pretrained(tmp_path / "base")

    def save(name, config):
        config.task_type = "CAUSAL_LM"
        get_peft_model(type(base).from_pretrained(tmp_path / "base"), config).save_pretrained(tmp_path / name)

    return tmp_path, save


def rows(shown: str) -> list[list[str]]:
    """Return the table's cells from the adapter's letter on."""
    cells = [line.split()[-7:] for line in shown.splitlines()]
    return [row for row in cells if row[:1] in (["A"], ["B"]) and row[1].isdigit()]


def test_inspect_lists_each_layer_and_draws_them(llama, capsys):
    folder, save = llama
    save("adapter", peft.HRAConfig(r=4, init_weights=False))
    main(["inspect", str(folder / "adapter"), "--png", str(folder / "look.png")])
    shown = capsys.readouterr().out
    assert "q_proj" in shown and "v_proj" in shown and "adapter: HRA, 128 parameters" in shown
    assert (folder / "look.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("adapter", "name"),
    [
        ("results/glue/cola/hra/r8/seed0/last", "glue-cola-hra-r8-seed0-last.png"),
        ("/data/runs/cola/last/", "data-runs-cola-last.png"),
        ("someone/adapter", "someone-adapter.png"),
        ("../best", "best.png"),
    ],
)
def test_figures_of_several_runs_have_several_names(adapter, name):
    assert figure_name([adapter]) == name
    assert figure_name([adapter, "b", "c"]) == name.replace(".png", "-and-2-more.png")


@pytest.mark.parametrize("apply_GS", [False, True])
def test_measures_are_those_of_the_dense_matrix(tmp_path, apply_GS):
    model = adapt(nn.Sequential(nn.Linear(9, 5)), target_modules=["0"], apply_GS=apply_GS)
    model.save_pretrained(tmp_path)
    (found,) = measure(str(tmp_path))
    V, B = compact(model.base_model.model[0].hra_u["default"].double(), apply_GS)
    H = sidebyside.dense(V, B)
    angle = torch.linalg.eigvals(H).angle().abs().max().rad2deg()
    assert found["distance"] == pytest.approx((H - torch.eye(9)).norm().item())
    assert found["angle"] == pytest.approx(angle.item())
    assert (found["layer"], found["n"], found["r"], found["parameters"]) == ("0", 9, 4, 36)


def test_an_adapter_at_its_start_measures_as_the_identity(tmp_path):
    adapt(Net(), init_weights=True).save_pretrained(tmp_path)
    for found in measure(str(tmp_path)):
        assert found["distance"] < 1e-6 and found["angle"] < 1e-4


def test_several_adapters_are_shown_side_by_side(llama, capsys, monkeypatch):
    folder, save = llama
    monkeypatch.chdir(folder)
    save("first", peft.HRAConfig(r=4, init_weights=False, target_modules=["q_proj", "v_proj"]))
    save("second", peft.HRAConfig(r=2, init_weights=False, target_modules=["q_proj", "o_proj"]))
    main(["inspect", "first", "second"])
    shown = capsys.readouterr().out
    assert "A first: HRA, 128 parameters\nB second: HRA, 64 parameters\n" in shown
    assert [len(shown.split(name)) - 1 for name in ("q_proj", "v_proj", "o_proj", "‖H - I‖")] == [1, 1, 1, 1]
    assert (folder / "first-and-1-more.png").read_bytes().startswith(b"\x89PNG")
    distances = {one: {layer["layer"][-6:]: layer["distance"] for layer in measure(one)} for one in ("first", "second")}
    assert [row[-2] for row in rows(shown)] == [
        f"{distances[one][name]:#.3g}"
        for one, name in (("first", "q_proj"), ("second", "q_proj"), ("first", "v_proj"), ("second", "o_proj"))
    ]


def test_both_sides_and_magnitudes_have_a_row_and_a_column(llama, capsys, monkeypatch):
    folder, save = llama
    monkeypatch.chdir(folder)
    save("one", peft.HRAConfig(r=4, init_weights=False))
    save("both", hra.HRAConfig(r=4, init_weights=False, two_sided=True, magnitudes=True))
    path = folder / "both/adapter_model.safetensors"
    tensors = load_file(path)
    key = "base_model.model.model.layers.0.self_attn.v_proj"
    tensors[f"{key}.hra_magnitudes"][5] = -1.25
    save_file(tensors, path)
    found = {layer["layer"].rpartition(".")[2]: layer for layer in measure("both")}
    assert list(found) == ["q_proj", "q_proj (out)", "v_proj", "v_proj (out)"]
    assert [layer.get("magnitude") for layer in found.values()] == [0, None, 1.25, None]
    for side, name in (("", "hra_u"), (" (out)", "hra_u_out")):
        H = sidebyside.dense(*compact(tensors[f"{key}.{name}"].double()))
        assert found[f"v_proj{side}"]["distance"] == pytest.approx((H - torch.eye(16)).norm().item())
    main(["inspect", "one", "both"])
    shown = capsys.readouterr().out
    assert "A one: HRA, 128 parameters\nB both: HRA, 288 parameters\n" in shown and "max |δ|" in shown
    last = [line.split()[-1] for line in shown.splitlines() if " 16 " in line]
    angles = {label: [f"{one['angle']:.3g}" for one in measure(label)] for label in ("one", "both")}
    assert last == [angles["one"][0], "0.00", angles["both"][1], angles["one"][1], "1.25", angles["both"][3]]
    assert (folder / "one-and-1-more.png").read_bytes().startswith(b"\x89PNG")
    main(["inspect", "both", "--base", "base"])
    shown = capsys.readouterr().out
    stretch = [float(line.split()[-1]) for line in shown.splitlines() if " 144 " in line]
    assert "both: HRA, 288 parameters" in shown and "δ|" not in shown
    assert stretch[0] < 1e-5 < 1e-3 < stretch[1]  # the singular values of v_proj, one of whose rows is -0.25 times W's


def test_every_measure_has_three_digits():
    layer = {"layer": "q", "n": 8, "r": 2, "parameters": 16, "orthogonality": 0.0, "distance": 2.7}
    measured = {"A": [layer | {"angle": value} for value in (72.0, 180.0, 2.684, 1e-9, torch.nan)]}
    columns = [list(column.cells) for column in table(measured, ROTATION).columns]
    assert columns[-1] == ["72.0", "180", "2.68", "1.00e-09", "nan"]
    assert (columns[-2][0], columns[-3][0]) == ("2.70", "0.00")


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("base", [[], ["--base", "base"]])
def test_a_layer_with_NaN_has_a_row_that_says_so(llama, capsys, monkeypatch, value, base):
    folder, save = llama
    monkeypatch.chdir(folder)
    save("adapter", peft.HRAConfig(r=4, init_weights=False))
    path = folder / "adapter/adapter_model.safetensors"
    tensors = load_file(path)
    next(one for key, one in tensors.items() if "v_proj" in key)[3, 1] = value
    save_file(tensors, path)
    eigvals = torch.linalg.eigvals

    def crashing(matrix):
        assert matrix.isfinite().all()  # LAPACK ends in a segmentation fault otherwise, on some machines
        return eigvals(matrix)

    monkeypatch.setattr(torch.linalg, "eigvals", crashing)
    main(["inspect", "adapter", *base])
    shown = [line.split()[-3:] for line in capsys.readouterr().out.splitlines() if "_proj" in line]
    assert sorted(row.count("nan") for row in shown) == [0, 3]
    assert (folder / "adapter.png").read_bytes().startswith(b"\x89PNG")


# Updates of any method


CONFIGS = {
    "hra": peft.HRAConfig(r=4, init_weights=False),
    "lora": peft.LoraConfig(r=4, init_lora_weights=False),
    "dora": peft.LoraConfig(r=4, init_lora_weights=False, use_dora=True),
    "adalora": peft.AdaLoraConfig(init_r=4, target_r=2, total_step=9, init_lora_weights=False),
    "vera": peft.VeraConfig(r=4, init_weights=False),
    "ia3": peft.IA3Config(feedforward_modules=[], init_ia3_weights=False),
    "oft": peft.OFTConfig(oft_block_size=4, init_weights=False, use_cayley_neumann=False),
    "loha": peft.LoHaConfig(r=4, init_weights=False),
    "lokr": peft.LoKrConfig(r=4, init_weights=False),
    "fourierft": peft.FourierFTConfig(n_frequency=9, init_weights=False),
    "shira": peft.ShiraConfig(r=2, init_weights=False),
    "c3a": peft.C3AConfig(block_size=4, init_weights="kaiming_uniform"),
    "miss": peft.MissConfig(r=4, init_weights=False),
    "road": peft.RoadConfig(group_size=4, init_weights=False),
    "randlora": peft.RandLoraConfig(r=4, init_weights=False),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_an_update_is_what_merging_does(kind):
    base = nn.Sequential(nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, 8))
    config = copy.deepcopy(CONFIGS[kind])
    config.target_modules = {"0", "2"}
    model = get_peft_model(copy.deepcopy(base), config)
    for parameter in model.parameters():
        if parameter.requires_grad and kind not in ("hra", "oft"):
            parameter.data += 0.1 * torch.randn_like(parameter)
    found = [measure_update(*layer) for layer in adapted_layers(model)]
    merged = model.merge_and_unload()
    assert [layer["layer"] for layer in found] == ["0", "2"]
    for layer, name in zip(found, (0, 2), strict=True):
        W, after = base[name].weight.detach(), merged[name].weight.detach()
        sigma, values = torch.linalg.svdvals(W), torch.linalg.svdvals(after)
        assert layer["norm"] == pytest.approx(((after - W).norm() / W.norm()).item(), rel=1e-4)
        assert layer["norm"] > 1e-3
        assert layer["stretch"] == pytest.approx(((values - sigma).abs().max() / sigma[0]).item(), rel=1e-5, abs=1e-5)
        angles = nn.functional.cosine_similarity(W.double(), after.double()).clamp(-1, 1).arccos().rad2deg()
        assert layer["angle"] == pytest.approx(angles.mean().item(), rel=1e-3)
        assert layer["spectrum"].square().sum().sqrt() * sigma[0] == pytest.approx((after - W).norm().item(), rel=1e-4)
        assert (layer["stretch"] < 1e-5) == (kind in ("hra", "oft"))  # rotations
        assert (layer["out"], layer["n"]) == W.shape


def test_updates_of_lora_are_its_product():
    model = get_peft_model(
        nn.Sequential(nn.Linear(9, 7)), peft.LoraConfig(r=3, init_lora_weights=False, target_modules=["0"])
    )
    ((name, layer),) = adapted_layers(model)
    product = layer.get_delta_weight("default")
    found = measure_update(name, layer)
    sigma = torch.linalg.matrix_norm(layer.get_base_layer().weight, 2)
    assert torch.allclose(found["spectrum"] * sigma, torch.linalg.svdvals(product), atol=1e-5)
    assert found["parameters"] == 3 * (9 + 7)
    assert not layer.merged  # a copy was


def test_small_updates_of_a_16_bit_model_are_not_rounded_away():
    model = get_peft_model(nn.Sequential(nn.Linear(64, 64).bfloat16()), peft.LoraConfig(r=2, target_modules=["0"]))
    ((name, layer),) = adapted_layers(model)
    layer.lora_B["default"].weight.data.normal_(std=1e-5)
    found = measure_update(name, layer)
    expected = layer.get_delta_weight("default").norm() / layer.get_base_layer().weight.float().norm()
    assert found["norm"] == pytest.approx(expected.item(), rel=1e-2)
    assert found["spectrum"][2] < 0.05 * found["spectrum"][1]


@pytest.mark.parametrize(
    ("base", "shape"),
    [
        (nn.Conv2d(3, 4, 2), (4, 12)),
        (nn.Embedding(20, 6), (20, 6)),
        (nn.LayerNorm(6), (6, 1)),
        ("Conv1D", (9, 6)),
    ],
)
def test_weights_that_are_no_matrices_are_measured_as_one(base, shape):
    if base == "Conv1D":
        from transformers.pytorch_utils import Conv1D

        base = Conv1D(9, 6)
    kind = peft.LNTuningConfig if isinstance(base, nn.LayerNorm) else peft.LoraConfig
    of_lora = {"r": 2, "init_lora_weights": False, "fan_in_fan_out": shape == (9, 6)}
    options = of_lora if kind is peft.LoraConfig else {}
    model = get_peft_model(nn.Sequential(base), kind(target_modules=["0"], **options))
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter) if parameter.requires_grad else 0
    ((name, layer),) = adapted_layers(model)
    found = measure_update(name, layer)
    assert (found["out"], found["n"]) == shape and found["norm"] > 1e-3
    assert sum(value > 1e-5 for value in found["spectrum"]) == min(2, *shape)


def test_adapters_of_several_methods_are_shown_side_by_side(llama, capsys, monkeypatch):
    folder, save = llama
    monkeypatch.chdir(folder)
    save("rotated", peft.HRAConfig(r=4, init_weights=False))
    save("added", peft.LoraConfig(r=4, init_lora_weights=False))
    main(["inspect", "rotated", "added", "--base", "base", "--png", "both.png"])
    shown = capsys.readouterr().out
    assert "A rotated: HRA, 128 parameters\nB added: LORA, 256 parameters\n" in shown and "Δσ/σ₁" in shown
    stretch = [float(row[-1]) for row in rows(shown)]
    assert len(stretch) == 4 and max(stretch[::2]) < 1e-5 < 0.1 < min(stretch[1::2])
    assert (folder / "both.png").read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_measured_is_an_error(llama, monkeypatch):
    folder, save = llama
    monkeypatch.chdir(folder)
    save("prompt", peft.PromptTuningConfig(num_virtual_tokens=3))
    with pytest.raises(SystemExit, match="prompt: expected an adapter that changes weights of the base model"):
        main(["inspect", "prompt"])
    save("activated", peft.LoraConfig(r=2, alora_invocation_tokens=[1]))
    with pytest.raises(
        SystemExit, match=r"q_proj cannot be measured: its method does not merge.*aLoRA does not support"
    ):
        main(["inspect", "activated"])
    with pytest.raises(SystemExit, match="expected at most 8 adapters, found 9"):
        main(["inspect", *(["prompt"] * 9)])

    class Linear8bit(nn.Linear):
        def __init__(self):
            super().__init__(6, 3)
            self.weight = nn.Parameter(torch.zeros(3, 6, dtype=torch.int8), requires_grad=False)

    ((name, layer),) = adapted_layers(adapt(nn.Sequential(Linear8bit()), target_modules=["0"]))
    with pytest.raises(TypeError, match="weight in 0, found a quantised one of Linear8bit"):
        measure_update(name, layer)
