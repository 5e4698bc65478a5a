"""A language model that transformers splits over two processes by tensor parallelism."""

import pytest
import torch
from peft import HRAConfig, get_peft_model
from sidebyside import close, llama
from transformers import LlamaForCausalLM
from transformers.distributed import DistributedConfig

import hra
from two_ranks import on_two_ranks


def adapted(base, targets):
    torch.manual_seed(1)
    return get_peft_model(base, HRAConfig(r=4, init_weights=False, target_modules=targets))


def gradients(model):
    tokens = torch.arange(28).view(4, 7)
    loss = model(input_ids=tokens, labels=tokens).loss
    return loss.detach(), torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad])


def split(folder):
    def load():
        return LlamaForCausalLM.from_pretrained(folder, distributed_config=DistributedConfig(tp_size=2))

    model, errors = adapted(load(), ["q_proj", "gate_proj", "up_proj"]), []
    for function in (hra.to_lora, lambda model: model.merge_adapter(), lambda _: adapted(load(), ["q_proj", "o_proj"])):
        try:
            function(model)
        except (TypeError, ValueError) as error:
            errors.append(str(error))
    return {"gradients": gradients(model), "errors": errors}


@pytest.fixture
def base(tmp_path):
    model = llama(2)
    model.save_pretrained(tmp_path / "base")
    return model


def test_layers_split_by_output_train_as_in_one_process_and_others_are_refused(base, tmp_path):
    loss, expected = gradients(adapted(base, ["q_proj", "gate_proj", "up_proj"]))
    for rank in on_two_ranks(split, tmp_path, str(tmp_path / "base")):
        close(rank["gradients"][0], loss, 24)
        for gradient, other in zip(rank["gradients"][1], expected, strict=True):
            close(gradient, other, 24)
        export, merge, by_input = rank["errors"]
        assert "q_proj: expected all of its tensors in this process" in export and "`hra to-lora`" in export
        assert "cannot merge into model.layers.0.self_attn.q_proj" in merge and "sharding" in merge
        assert "self_attn.o_proj: tensor parallelism splits its input" in by_input and "`exclude_modules`" in by_input
