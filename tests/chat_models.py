"""Tiny models of today's architectures, with chat templates in the form that their publishers document.

The answer of a template is between `{% generation %}` and `{% endgeneration %}`, which the published ones lack: with
them, transformers computes a mask of its tokens.
"""

import json
import random
import re
from pathlib import Path

from hra_workflow.models import random_weights

CHATML = """{%- for message in messages -%}
{%- if loop.first and message.role != 'system' -%}
{{ '<|im_start|>system\\nYou are a helpful AI assistant<|im_end|>\\n' }}
{%- endif -%}
{{ '<|im_start|>' + message.role + '\\n' }}
{%- if message.role == 'assistant' %}{% generation %}{{ message.content + '<|im_end|>' }}{% endgeneration %}
{%- else %}{{ message.content + '<|im_end|>' }}{% endif %}{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif -%}"""
QWEN3 = """{%- for message in messages -%}
{{ '<|im_start|>' + message.role + '\\n' }}
{%- if message.role == 'assistant' -%}
{{ '<think>\\n' + (message.reasoning_content or '').strip('\\n') + '\\n</think>\\n\\n' -}}
{% generation %}{{ message.content.lstrip('\\n') + '<|im_end|>' }}{% endgeneration %}{{ '\\n' }}
{%- else %}{{ message.content + '<|im_end|>\\n' }}{% endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<|im_start|>assistant\\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif -%}
{%- endif -%}"""
LLAMA3 = """{{- bos_token -}}
{%- if not date_string is defined -%}
{%- if strftime_now is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif -%}
{%- endif -%}
{{ '<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: ' + date_string + '\\n\\n<|eot_id|>' }}
{%- for message in messages -%}
{{ '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' }}
{%- if message.role == 'assistant' %}{% generation %}{{ message.content | trim + '<|eot_id|>' }}{% endgeneration %}
{%- else %}{{ message.content | trim + '<|eot_id|>' }}{% endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif -%}"""
GEMMA = """{{- bos_token -}}
{%- for message in messages -%}
{%- if message.role == 'system' %}{{ raise_exception('System role not supported') }}{% endif -%}
{{ '<start_of_turn>' + ('model' if message.role == 'assistant' else message.role) + '\\n' }}
{%- if message.role == 'assistant' %}{% generation %}{{ message.content | trim + '<end_of_turn>' }}{% endgeneration %}
{%- else %}{{ message.content | trim + '<end_of_turn>' }}{% endif %}{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif -%}"""
ARGUMENTS = {"enable_thinking": False, "date_string": "26 Jul 2024"}  # those of the config
CHAT = {"chat": True, "message": "{question}", "arguments": ARGUMENTS}
KINDS = {  # template; start token, which the tokenizer puts before every text; end tokens, its own first; others
    "smollm2": (CHATML, None, ["<|im_end|>"], ["<|im_start|>"]),
    "qwen3": (QWEN3, None, ["<|im_end|>", "<|endoftext|>"], ["<|im_start|>", "<think>", "</think>"]),
    "llama": (
        LLAMA3,
        "<|begin_of_text|>",
        ["<|eot_id|>", "<|end_of_text|>", "<|eom_id|>"],
        ["<|start_header_id|>", "<|end_header_id|>"],
    ),
    "gemma3_text": (GEMMA, "<bos>", ["<eos>", "<end_of_turn>"], ["<start_of_turn>"]),
}
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
SIZES |= {"head_dim": 16}  # not hidden_size / num_attention_heads
SIZES |= {"intermediate_size": 64, "max_position_embeddings": 256}
SIZES |= {"tie_word_embeddings": True, "initializer_range": 0.3}
OTHER = {"gemma3_text": {"sliding_window": 24, "sliding_window_pattern": 2, "query_pre_attn_scalar": 16}}


def plain(template: str) -> str:
    """Return a template as published."""
    return re.sub(r"\{%-? (?:end)?generation %\}", "", template)


def tokenizer_of(kind: str):
    """Build a tokenizer with merges over letters, spaces and digits, and the chat template as published."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    template, start, ends, others = KINDS[kind]
    special = ["<pad>", *([start] if start else []), *ends, *others]
    generator, words = random.Random(0), ["system", "user", "assistant", "The answer is: ", "How many?\n", "\n\n"]
    texts = [f"{generator.choice(words)} {generator.randrange(100)}" for _ in range(300)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    sizes = {"vocab_size": 330, "special_tokens": special, "initial_alphabet": alphabet}
    trainer = trainers.BpeTrainer(**sizes, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    if start:
        tokens = [(start, tokenizer.token_to_id(start))]
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{start} $A", special_tokens=tokens)
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", bos_token=start, eos_token=ends[0])
    made.chat_template = plain(template)
    return made


def write(folder: Path, model: str) -> None:
    """Write a random model of a kind and its tokenizer: a generator of a source of kind init."""
    tokenizer = tokenizer_of(model)
    ids = tokenizer.convert_tokens_to_ids(KINDS[model][2])
    config = {"vocab_size": len(tokenizer), "eos_token_id": ids, "bos_token_id": tokenizer.bos_token_id}
    random_weights.transformers_model(folder, model, SIZES | OTHER.get(model, {}) | config, causal_lm=True)
    tokenizer.save_pretrained(folder)
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == ids


def source(kind: str) -> dict:
    return {"kind": "init", "generator": "chat_models:write", "model": kind}
