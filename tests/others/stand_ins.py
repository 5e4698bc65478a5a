"""Stand-ins for what others' tests load from the Hugging Face Hub: random models, and data sets of the same columns."""

import json
from pathlib import Path

import peft
import torch
import transformers
from diffusers import DiffusionPipeline
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers

import hra

ROOT = Path(__file__).parents[2]
VOCABULARY = 1000
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
COMMON = SPECIAL | {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
ENCODER = COMMON | {"intermediate_size": 64, "max_position_embeddings": 130}
DEBERTA = ENCODER | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]}
LLAMA = COMMON | {"intermediate_size": 64}
GPT = SPECIAL | {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
T5 = {"vocab_size": VOCABULARY, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
BART = SPECIAL | {"vocab_size": VOCABULARY, "d_model": 32, "max_position_embeddings": 128}
for side in ("encoder", "decoder"):
    BART |= {f"{side}_layers": 2, f"{side}_attention_heads": 4, f"{side}_ffn_dim": 64}
CLIP = {"vocab_size": 606, "hidden_size": 32, "intermediate_size": 37, "num_hidden_layers": 5, "num_attention_heads": 4}
CLIP |= {"projection_dim": 32, "bos_token_id": 604, "eos_token_id": 605, "pad_token_id": 605}
OPT = COMMON | {"ffn_dim": 64, "word_embed_proj_dim": 32, "max_position_embeddings": 128}
# Name on the Hub: class and config.
MODELS = {
    "peft-internal-testing/tiny-random-OPTForCausalLM": ("OPTForCausalLM", OPT),
    "hf-internal-testing/tiny-random-OPTForCausalLM": ("OPTForCausalLM", OPT),
    "peft-internal-testing/opt-125m": (
        "OPTForCausalLM",
        OPT | {"num_hidden_layers": 12, "hidden_size": 64, "word_embed_proj_dim": 64},  # 4 bits come in blocks of 64
    ),
    "peft-internal-testing/tiny-random-GPT2LMHeadModel": ("GPT2LMHeadModel", GPT),
    "peft-internal-testing/tiny-random-GPTJForCausalLM": ("GPTJForCausalLM", GPT | {"rotary_dim": 4}),
    "trl-internal-testing/tiny-random-LlamaForCausalLM": ("LlamaForCausalLM", LLAMA),
    "peft-internal-testing/tiny-dummy-qwen2": ("Qwen2ForCausalLM", LLAMA | {"num_key_value_heads": 2}),
    "hf-internal-testing/tiny-random-Gemma3ForCausalLM": (
        "Gemma3ForCausalLM",
        LLAMA | {"num_key_value_heads": 2, "head_dim": 8},
    ),
    "peft-internal-testing/tiny-random-T5ForConditionalGeneration-calibrated": (
        "T5ForConditionalGeneration",
        T5 | {"pad_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 0},
    ),
    "peft-internal-testing/tiny-random-BartForConditionalGeneration": (
        "BartForConditionalGeneration",
        BART | {"decoder_start_token_id": 2, "forced_eos_token_id": 2},
    ),
    "peft-internal-testing/tiny-random-BertModel": ("BertModel", ENCODER),
    "peft-internal-testing/tiny-random-RobertaModel": ("RobertaModel", ENCODER),
    "peft-internal-testing/tiny-random-DebertaModel": ("DebertaModel", DEBERTA),
    "peft-internal-testing/tiny-random-DebertaV2Model": ("DebertaV2Model", DEBERTA),
    "peft-internal-testing/tiny-random-BertForSequenceClassification": ("BertForSequenceClassification", ENCODER),
    "peft-internal-testing/tiny-random-RobertaForSequenceClassification": ("RobertaForSequenceClassification", ENCODER),
    "trl-internal-testing/tiny-LlamaForSequenceClassification-3.2": (
        "LlamaForSequenceClassification",
        LLAMA | {"num_labels": 1},
    ),
    "peft-internal-testing/tiny-random-ResNetForImageClassification": (
        "ResNetForImageClassification",
        {"embedding_size": 10, "hidden_sizes": [10, 20, 30, 40], "depths": [1, 1, 2, 1], "num_labels": 3},
    ),
    "hf-internal-testing/tiny-random-t5": ("T5EncoderModel", T5),
    **{
        f"hf-internal-testing/tiny-{name}": ("CLIPTextModelWithProjection", CLIP)
        for name in ("random-clip", "sd3-text_encoder", "sd3-text_encoder-2")
    },
    "peft-internal-testing/tiny-clip-text-2": ("CLIPTextModelWithProjection", CLIP),
}


def load_dataset(path: str, name: str | None = None, **options):
    """Stand in for `datasets.load_dataset`: every split has two dozen equal rows."""
    import datasets

    four = ["one", "two", "three", "four"]
    ending = {
        "ind": 0,
        "activity_label": "Cooking",
        "ctx_a": "A man cuts",
        "ctx_b": "he",
        "endings": four,
        "label": "1",
    }
    rows = {
        "ybelkada/english_quotes_copy": {"quote": "word4 word5 word6", "author": "a", "tags": ["t"]},
        "allenai/ai2_arc": {
            "question": "Which?",
            "choices": {"text": four, "label": ["A", "B", "C", "D"]},
            "answerKey": "B",
        },
        "Rowan/hellaswag": ending,
        "allenai/winogrande": {"sentence": "The _ is big.", "option1": "cat", "option2": "dog", "answer": "1"},
        "cais/mmlu": {"question": "Which?", "choices": four, "answer": 1, "subject": name},
    }
    if path == "huggingface/cats-image":
        from PIL import Image

        return {"test": {"image": [Image.effect_mandelbrot((64, 64), (-2, -2, 2, 2), 50).convert("RGB")]}}
    if path not in rows:
        raise ConnectionError(f"OfflineModeIsEnabled: no stand-in for the data set {path}")
    table = datasets.Dataset.from_list([rows[path]] * 24)
    return datasets.DatasetDict({split: table for split in ("train", "validation", "test", "dev")})


def entry(cache: Path, name: str, revision: str = "main") -> Path:
    """Return the folder in which a Hugging Face cache has this repository's files."""
    repository = cache / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / revision).write_text("0" * 40)
    (repository / "snapshots").mkdir()
    return repository / "snapshots" / ("0" * 40)


def write_models(cache: Path) -> None:
    words = ["<pad>", "<s>", "</s>", "<unk>", *(f"word{i}" for i in range(4, VOCABULARY))]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    transformers.set_seed(0)
    for name, (cls, config) in MODELS.items():
        model = getattr(transformers, cls)
        folder = entry(cache, name)
        model(model.config_class(**config)).save_pretrained(folder)
        if "CLIP" in cls:
            transformers.CLIPTokenizer.from_pretrained(ROOT / "workflow/pictures-sd/tokenizer").save_pretrained(folder)
        elif "ResNet" in cls:
            transformers.ConvNextImageProcessor(size={"shortest_edge": 224}).save_pretrained(folder)
        else:
            transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    pipeline = DiffusionPipeline.from_pretrained(ROOT / "workflow/pictures-sd", torch_dtype=torch.float32)
    pipeline.save_pretrained(entry(cache, "hf-internal-testing/tiny-sd-pipe"))
    peft.LoraConfig(r=8).save_pretrained(entry(cache, "peft-internal-testing/tiny-opt-lora-revision", "test"))
    write_exported(cache)


def write_exported(cache: Path) -> None:
    """Export a random HRA adapter as the LoRA that transformers' tests load."""
    base = "hf-internal-testing/tiny-random-OPTForCausalLM"
    snapshot = cache / f"models--{base.replace('/', '--')}/snapshots/{'0' * 40}"
    config = peft.HRAConfig(r=8, target_modules=["q_proj", "v_proj"], init_weights=False, task_type="CAUSAL_LM")
    adapted = peft.get_peft_model(transformers.OPTForCausalLM.from_pretrained(snapshot), config)
    folder = entry(cache, "peft-internal-testing/tiny-OPTForCausalLM-lora")
    hra.to_lora(adapted, folder)
    torch.save(load_file(folder / "adapter_model.safetensors"), folder / "adapter_model.bin")
    written = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(written | {"base_model_name_or_path": base}))
