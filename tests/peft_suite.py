"""Run PEFT's own tests of HRA on this package's layers: python tests/peft_suite.py [options of pytest].

They come with the source distribution of the installed PEFT, or, with `PEFT_SOURCE=folder` in the environment, from a
folder with PEFT's repository, whose PEFT is then used. The models that they load from the Hugging Face Hub are
replaced with randomly initialised ones of the same classes and names, in a cache of their own; nothing is downloaded
from the Hub. This file is also the pytest plugin that calls `hra.install()`.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections import defaultdict
from pathlib import Path

import peft
import torch
import transformers
from diffusers import DiffusionPipeline
from tokenizers import Tokenizer, models, pre_tokenizers

ROOT = Path(__file__).parents[1]
FILES = (
    "config custom_models decoder_models encoder_decoder_models feature_extraction_models initialization "
    "seq_classifier stablediffusion"
)
NEEDS_HUB = "test_from_pretrained_cache_dir"  # in a cache that the test empties
REFUSES = "test_error_raised_for_conv2d_groups_greater_than_one"  # which this package adapts
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
# Name on the Hub: class and config.
MODELS = {
    "peft-internal-testing/tiny-random-OPTForCausalLM": (
        "OPTForCausalLM",
        COMMON | {"ffn_dim": 64, "word_embed_proj_dim": 32, "max_position_embeddings": 128},
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
}


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
        transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    pipeline = DiffusionPipeline.from_pretrained(ROOT / "workflow/pictures-sd", torch_dtype=torch.float32)
    pipeline.save_pretrained(entry(cache, "hf-internal-testing/tiny-sd-pipe"))
    peft.LoraConfig(r=8).save_pretrained(entry(cache, "peft-internal-testing/tiny-opt-lora-revision", "test"))


def pytest_configure() -> None:
    import hra

    hra.install()


def pytest_collection_modifyitems() -> None:
    from tests import testing_utils

    class All(defaultdict):
        def __contains__(self, name):
            return True

    testing_utils._HUB_MODEL_ACCESSES = All(int)  # PEFT's tests go online for a model that is not in it


def main(options: list[str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "--no-deps", "--target", f"{folder}/packages", "parameterized"], check=True)
        suite = Path(folder, f"peft-{peft.__version__}")
        if source := os.environ.get("PEFT_SOURCE"):
            shutil.copytree(source, suite, ignore=shutil.ignore_patterns(".git"))
        else:
            version = f"peft=={peft.__version__}"
            subprocess.run([*pip, "download", "--no-deps", "--no-binary", "peft", "-d", folder, version], check=True)
            with tarfile.open(next(Path(folder).glob("peft-*.tar.gz"))) as archive:
                archive.extractall(folder, filter="data")
        (suite / "tests/__init__.py").touch()  # missing from the source distribution
        write_models(Path(folder, "hub"))
        environment = os.environ | {
            "HF_HUB_CACHE": f"{folder}/hub",
            "HF_HUB_OFFLINE": "1",
            "PYTHONPATH": os.pathsep.join([f"{suite}/src", f"{folder}/packages", str(ROOT), str(ROOT / "tests")]),
        }
        files = [f"tests/test_{name}.py" for name in FILES.split()]
        # PEFT's settings measure coverage, and make errors of transformers' warnings of deprecation.
        command = [sys.executable, "-m", "pytest", *files, "-o", "addopts=", "-o", "filterwarnings="]
        command += [
            "-p",
            "peft_suite",
            "-q",
            "-p",
            "no:cacheprovider",
            "-k",
            f"hra and not {NEEDS_HUB} and not {REFUSES}",
            *options,
        ]
        return subprocess.run(command, cwd=suite, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
