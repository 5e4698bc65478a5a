"""Check what `two_sided` and `init_scale` refuse, by name, before anything is trained."""

import copy
import pickle

import pytest
import torch
from peft import get_peft_model, inject_adapter_in_model
from sidebyside import TWO_SIDED, adapt, close, config_of, layer
from torch import nn
from torch.distributed.tensor import Replicate, Shard

import hra

SWITCHES = [("two_sided", value) for value in ("yes", "false", 1, 0, None)]
SCALES = [("init_scale", value) for value in (0, -1, float("nan"), float("inf"), "small", True)]


@pytest.mark.parametrize(("name", "value"), SWITCHES + SCALES)
def test_a_wrong_option_is_an_error_by_name(name, value):
    expected = "a positive number as `init_scale`" if name == "init_scale" else f"`{name}` to be True or False"
    with pytest.raises(ValueError, match=f"expected {expected}, found {value!r}"):
        hra.HRAConfig(r=4, **{name: value})


@pytest.mark.parametrize("name", ["magnitudes", "target_parameters"])
def test_an_option_of_0_2_0_is_refused_with_that_version(name):
    """PEFT would ignore an unknown option, and the adapter would compute something else."""
    with pytest.raises(ValueError, match=rf"`{name}`.* Use hra 0\.2\.0, the last version that"):
        hra.HRAConfig(**{name: ["experts"] if name == "target_parameters" else True})


@pytest.mark.parametrize("base", [nn.Linear(12, 3), nn.Conv2d(6, 6, 2, groups=2), nn.Conv2d(6, 6, 2, groups=6)])
def test_more_reflections_than_outputs_are_refused(base):
    width = base.out_features if isinstance(base, nn.Linear) else 6 // base.groups
    message = rf"HRA with r = 4 on {type(base).__name__}.*whose output width is {width}: .*r <= {width}, or exclude"
    with pytest.raises(ValueError, match=message):
        layer(copy.deepcopy(base), two_sided=True)
    ours = layer(copy.deepcopy(base))
    with pytest.raises(ValueError, match="output width"):
        ours.update_layer("other", 4, config_of(r=4, two_sided=True))
    assert all("other" not in parameters for parameters in (ours.hra_u, ours.hra_u_out))
    ours.update_layer("loaded", 4, config_of(r=4, two_sided=True, inference_mode=True))


def test_layers_that_tensor_parallelism_splits_by_their_outputs_are_refused():
    for added in (False, True):
        base = nn.ModuleDict({"up": nn.Linear(12, 8)})
        base["up"].weight.placements = (Replicate(), Shard(0))
        message = r"with `two_sided` cannot adapt up: .*tensor parallelism\. .*`exclude_modules`.*'up'"
        config = config_of(target_modules=["up"], r=4, **TWO_SIDED)
        if added:  # to an adapter of the inputs only
            model = adapt(base, target_modules=["up"])
            model.base_model.model["up"].base_layer.weight.placements = base["up"].weight.placements
            with pytest.raises(ValueError, match=message):
                model.add_adapter("other", config)
        else:
            with pytest.raises(ValueError, match=message):
                get_peft_model(base, config)


@pytest.mark.parametrize("bias", [{}, {"bias": True}], ids=["no attribute", "not a tensor"])
def test_a_layer_without_a_known_bias_is_refused(bias):
    class QuantLinear(nn.Module):
        in_features = out_features = 8

    base = QuantLinear()
    base.register_buffer("qweight", torch.zeros(8, 4))
    vars(base).update(bias)
    message = r"cannot adapt 0: expected a layer that computes W x \+ b, .*`bias`, found QuantLinear with .*'0'"
    with pytest.raises(TypeError, match=message):
        layer(base, **TWO_SIDED)
    layer(base)


def test_layers_of_PEFT_would_ignore_the_options_and_are_never_made():
    """A configuration from before `uninstall`, or unpickled in a process that has not installed the layers."""
    config, x = config_of(r=4, target_modules=["0"], **TWO_SIDED), torch.randn(5, 12)
    model = adapt(nn.Sequential(nn.Linear(12, 8)), target_modules=["0"], **TWO_SIDED)
    expected, written = model(x), pickle.dumps(config)
    hra.uninstall()
    for one in (config, copy.deepcopy(config), pickle.loads(written)):
        with pytest.raises(KeyError, match=r"HRA_EXTENDED: .*hra\.install\(\)` first"):
            get_peft_model(nn.Sequential(nn.Linear(12, 8)), one)
        with pytest.raises(ValueError, match="does not support HRA_EXTENDED"):
            inject_adapter_in_model(one, nn.Sequential(nn.Linear(12, 8)))
    with pytest.raises(RuntimeError, match=r"found PEFT's, .*Call `hra\.install\(\)` first"):
        hra.HRAConfig(r=4, **TWO_SIDED)
    close(model(x), expected, 0)  # existing models are unchanged
    hra.install()
    for one in (config, pickle.loads(written)):
        assert one.peft_type == "HRA" and one.to_dict()["peft_type"].startswith("HRA_EXTENDED: ")
        get_peft_model(nn.Sequential(nn.Linear(12, 8)), one)
