"""BOFT has the configured number of butterfly factors, without PEFT's CUDA extension, which is never built."""

import copy

import pytest
import torch
from safetensors.torch import load_file

from hra_workflow.core import files
from hra_workflow.models import adapters
from support import method

BLOCK, INPUTS, OUTPUTS = 4, 32, 24
METHODS = {m: {"boft_block_size": BLOCK, "boft_n_butterfly_factor": m} for m in (1, 2, 4)}


def boft(m: int) -> dict:
    return method("boft", peft=METHODS[m], targets=["linear"])


@pytest.fixture(autouse=True)
def builds(monkeypatch):
    """Fail after any attempt to build the extension; calling it makes PEFT what it is in a new process."""
    from peft.tuners.boft import layer

    attempts = []
    monkeypatch.setattr("torch.utils.cpp_extension.load", lambda **options: attempts.append(options))

    def new_process():
        if hasattr(layer, "_FBD_CUDA"):  # not in PEFT's pull request 3540
            monkeypatch.setattr(layer, "_FBD_CUDA", None)

    new_process()
    yield new_process
    assert attempts == []


@pytest.fixture
def base():
    torch.manual_seed(0)
    return torch.nn.ModuleDict({"linear": torch.nn.Linear(INPUTS, OUTPUTS)}).double()


@pytest.fixture
def insert(base):
    def inserted(m: int):
        """Return the layer with every parameter away from its initial value."""
        model = adapters.insert(copy.deepcopy(base), boft(m)).double()
        layer = model.get_submodule("base_model.model.linear")
        for parameter in (layer.boft_R["default"], layer.boft_s["default"]):
            torch.nn.init.normal_(parameter, mean=0.5)
        return model, layer

    return inserted


def rotation(blocks: torch.Tensor) -> torch.Tensor:
    """B_{m-1} ⋯ B_0 (arXiv 2311.06243, section 4), from blocks (m, n / b, b, b).

    B_i has orthogonal blocks on pairs of half blocks with distance 2^i: Cayley's (I - S)(I + S)⁻¹, S = (X - Xᵀ) / 2.
    """
    m, count, b, _ = blocks.shape
    product = torch.eye(count * b, dtype=blocks.dtype)
    halves = torch.arange(count * b).view(2 * count, b // 2)
    for i in range(m):
        factor = torch.zeros(count * b, count * b, dtype=blocks.dtype)
        firsts = [h for h in range(2 * count) if not h & 2**i]  # the other of each pair has bit i set
        for first, X in zip(firsts, blocks[i], strict=True):
            S, one = (X - X.T) / 2, torch.eye(b, dtype=blocks.dtype)
            rows = torch.cat([halves[first], halves[first + 2**i]])
            factor = factor.index_put((rows[:, None], rows[None]), (one - S) @ torch.linalg.inv(one + S))
        product = factor @ product
    return product


def explicit(x, layer, blocks, scale) -> torch.Tensor:
    base = layer.get_base_layer()
    return x @ rotation(blocks) @ base.weight.T * scale.view(-1) + base.bias


@pytest.mark.parametrize("m", METHODS)
def test_forward_and_gradients_are_those_of_the_product_of_butterfly_factors(insert, m):
    _, layer = insert(m)
    blocks, scale = layer.boft_R["default"], layer.boft_s["default"]
    assert blocks.shape == (m, INPUTS // BLOCK, BLOCK, BLOCK)
    R = rotation(blocks)
    assert torch.allclose(R @ R.T, torch.eye(INPUTS, dtype=R.dtype), atol=1e-12)
    assert ((R != 0).sum(1) == min(BLOCK * 2 ** (m - 1), INPUTS)).all()  # factors mix more and more blocks
    x = torch.randn(5, INPUTS, dtype=torch.float64, requires_grad=True)
    found, expected = layer(x), explicit(x, layer, blocks, scale)
    assert torch.allclose(found, expected, atol=1e-12)
    gradients = [torch.autograd.grad(one.sin().sum(), (x, blocks, scale)) for one in (found, expected)]
    for ours, theirs in zip(*gradients, strict=True):
        assert theirs.abs().max() > 0.01 and torch.allclose(ours, theirs, atol=1e-11)


@pytest.mark.parametrize("m", METHODS)
def test_merged_and_saved_it_is_the_same_layer(base, insert, builds, tmp_path, m):
    model, layer = insert(m)
    x = torch.randn(5, INPUTS, dtype=torch.float64)
    expected = explicit(x, layer, layer.boft_R["default"], layer.boft_s["default"])
    adapters.save(model, tmp_path)
    config = files.read_json(tmp_path / "adapter_config.json")
    (stored,) = [value for name, value in load_file(tmp_path / adapters.WEIGHTS).items() if "boft_R" in name]
    assert config["boft_n_butterfly_factor"] == m == len(stored)
    builds()
    loaded = adapters.load(copy.deepcopy(base), boft(m), tmp_path).double()
    assert torch.allclose(loaded.get_submodule("base_model.model.linear")(x), expected, atol=1e-12)
    for one in (loaded, model):
        assert torch.allclose(one.merge_and_unload().linear(x), expected, atol=1e-12)
