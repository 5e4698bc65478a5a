"""A stand-in for vLLM: what `VLLMGeneration` of TRL 1.16 calls, with transformers."""

from types import SimpleNamespace

import torch
from sidebyside import dense, vectors
from transformers import AutoModelForCausalLM

from hra.reflections import compact


class VLLM:
    """The engine, and TRL's client of a server: it loads the weights of each sync and samples with them."""

    def __init__(self, model: str, policy):
        self.model = AutoModelForCausalLM.from_pretrained(model, dtype=policy.dtype)
        self.policy, self.got, self.errors, self.start = policy, {}, [], vectors(policy)
        worker = SimpleNamespace(model_runner=SimpleNamespace(model=self))
        self.llm_engine = SimpleNamespace(model_executor=SimpleNamespace(driver_worker=worker))

    def load_weights(self, weights):
        self.got |= {name: weight.clone() for name, weight in weights}

    def update_named_params(self, metadata, named_params):
        weights = list(named_params)  # as `pack_tensors` of vLLM 0.32 does, if all weights fit into one buffer (1 GiB)
        assert metadata == [(name, str(one.dtype).removeprefix("torch."), [*one.shape]) for name, one in weights]
        self.load_weights(weights)

    def reset_prefix_cache(self):
        """End a sync: measure how far the weights are from W H, computed in float64 from the definition."""
        self.model.load_state_dict(self.got)  # raises for a missing or unexpected name
        for name, layer in self.policy.base_model.model.named_modules():
            if hasattr(layer, "hra_u"):
                V, B = compact(layer.hra_u["default"].detach().double())
                merged = layer.base_layer.weight.double() @ dense(V, B)
                self.errors.append(((self.got[f"{name}.weight"] - merged).norm() / merged.norm()).item())
        self.got = {}

    def get_server_info(self):
        return {"model_config": {"logprobs_mode": "processed_logprobs"}}

    def generate(self, prompts, sampling_params=None, n=1, **_):
        if sampling_params is None:  # from the server's client
            answers = [self.sample(prompt) for prompt in prompts for _ in range(n)]
            names = ("completion_ids", "logprobs")
            return {"prompt_ids": prompts} | dict(zip(names, map(list, zip(*answers, strict=True)), strict=True))
        outputs = []
        for prompt in (one["prompt_token_ids"] for one in prompts):
            tokens, logprobs = self.sample(prompt)
            each = [{0: SimpleNamespace(rank=1, logprob=value)} for (value,) in logprobs]
            outputs.append(
                SimpleNamespace(prompt_token_ids=prompt, outputs=[SimpleNamespace(token_ids=tokens, logprobs=each)])
            )
        return outputs

    def sample(self, prompt: list[int]) -> tuple[list[int], list[list[float]]]:
        options = {"max_new_tokens": 6, "do_sample": True, "top_k": 0, "pad_token_id": 0, "eos_token_id": 2}
        found = self.model.generate(torch.tensor([prompt]), output_logits=True, return_dict_in_generate=True, **options)
        tokens = found.sequences[0, len(prompt) :].tolist()
        return tokens, [[one[0].log_softmax(-1)[token].item()] for one, token in zip(found.logits, tokens, strict=True)]
