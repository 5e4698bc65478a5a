"""A tiny language model of words, as a folder that TRL loads."""

from pathlib import Path

import torch
from sidebyside import llama
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

WORDS = ["<pad>", "<s>", "</s>", "user", "assistant", *(f"w{i}" for i in range(45))]
CHAT = (
    "{% for m in messages %}{{ m.role + ' ' }}{% if m.role == 'assistant' %}{% generation %}{{ m.content + ' </s> ' }}"
    "{% endgeneration %}{% else %}{{ m.content + ' ' }}{% endif %}{% endfor %}"
)


def save(folder: Path, **config) -> None:
    """Save a model and a tokenizer, whose chat template marks the assistant's answers."""
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<pad>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokens = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", bos_token="<s>", eos_token="</s>")
    tokens.chat_template = CHAT
    tokens.save_pretrained(folder)
    torch.manual_seed(0)
    llama(**config).save_pretrained(folder)
