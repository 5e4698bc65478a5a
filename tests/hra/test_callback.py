"""`hra.OrthogonalityCallback` without a Trainer; tests/tools/test_transformers.py trains with it."""

from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from sidebyside import Net, adapt, trainable
from transformers.training_args import OptimizerNames

import hra


def begin(callback, model, optim="adamw_torch", deepspeed_plugin=None):
    callback.on_train_begin(SimpleNamespace(optim=optim, deepspeed_plugin=deepspeed_plugin), None, None, model=model)


@pytest.mark.parametrize("lam", [-1e-3, float("nan"), float("inf")])
def test_lambda_is_finite_and_not_negative(lam):
    with pytest.raises(ValueError, match=f"expected a finite λ ≥ 0, found {lam}"):
        hra.OrthogonalityCallback(lam)


@pytest.mark.parametrize("squared", [True, False])
def test_a_step_begins_with_the_gradient_of_the_penalty_in_the_scale_of_fp16(squared):
    model = adapt(Net())
    parameters = trainable(model).values()
    (3 * hra.orthogonality_penalty(model, squared)).backward()
    expected = [u.grad.clone() for u in parameters]
    Accelerator(cpu=True)  # the state that accelerate's optimizer reads
    for scaler, scale in ((None, 1), (torch.amp.GradScaler("cpu", init_scale=2**7), 2**7)):
        model.zero_grad()
        optimizer = AcceleratedOptimizer(torch.optim.SGD(parameters, lr=1.0), scaler=scaler)
        hra.OrthogonalityCallback(3, squared).on_step_begin(None, None, None, model=model, optimizer=optimizer)
        for u, gradient in zip(parameters, expected, strict=True):
            torch.testing.assert_close(u.grad / scale, gradient)


def test_lambda_zero_has_no_effect():
    callback, model = hra.OrthogonalityCallback(0), Net()
    begin(callback, model, deepspeed_plugin="any")
    callback.on_step_begin(None, None, None, model=model, optimizer=None)
    callback.on_log(None, None, None, logs={"loss": 1.0})


def test_training_ends_at_its_start_if_the_penalty_cannot_be_trained():
    callback = hra.OrthogonalityCallback(0.1)
    with pytest.raises(ValueError, match="expected a model with an active HRA adapter"):
        begin(callback, Net())
    frozen = adapt(Net()).requires_grad_(False)
    for model in (frozen, adapt(Net(), apply_GS=True)):
        with pytest.raises(ValueError, match="expected a trainable HRA adapter"):
            begin(callback, model)
    with pytest.raises(ValueError, match="found optim='adalomo'"):
        begin(callback, adapt(Net()), optim=OptimizerNames.ADALOMO)
    with pytest.raises(ValueError, match="found DeepSpeed"):
        begin(callback, adapt(Net()), deepspeed_plugin="any")
