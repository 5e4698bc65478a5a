"""What training and evaluation do as the official code does: tokens, resizing, order of images, precision."""

from collections import Counter

import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torchvision import transforms
from transformers import PreTrainedTokenizerFast

import train_math
import train_subject
from hra_workflow.core import manifests
from hra_workflow.core.sharding import seed
from hra_workflow.data import images
from hra_workflow.evaluators.lpips import LpipsVgg, StLpips
from hra_workflow.models import causal_lm, diffusion
from hra_workflow.tasks import load
from hra_workflow.tasks.subject import dreambooth
from subjects import unet_method
from sums import LLAMA_TARGETS
from support import method, paper_config

PROMPT = "### Instruction:\nHow many?\n\n### Response:"


@pytest.fixture(scope="module")
def sentencepiece():
    """LLaMA's kind of tokenizer: a space, `▁`, is put before every text. It has the tokens ▁Tom, Tom and ://."""
    merges = [("T", "o"), ("To", "m"), ("▁", "Tom"), (":", "/"), (":/", "/")]
    vocabulary = ["<unk>", "<s>", "</s>", "▁", *sorted(set(PROMPT + "Tom has 3./x") - {" "}), *map("".join, merges)]
    numbered = {token: index for index, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.BPE(numbered, merges, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first", split=False)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def official(prompt: str, response: str, tokenizer) -> tuple[list[int], list[int]]:
    """Split the tokens of the whole text, with its end, after the number of tokens of the prompt (finetune_32.py)."""
    length, ids = len(tokenizer(prompt)["input_ids"]), tokenizer(f"{prompt}{response}</s>")["input_ids"]
    return ids[:length], ids[length:]


def test_a_response_continues_its_prompt_as_in_the_official_code(sentencepiece):
    asked, said = causal_lm.encode_row(PROMPT, "Tom has 3.", sentencepiece)
    assert (asked, [*said, sentencepiece.eos_token_id]) == official(PROMPT, "Tom has 3.", sentencepiece)
    assert asked == causal_lm.encode(PROMPT, sentencepiece)
    assert sentencepiece.convert_ids_to_tokens(said)[:2] == ["Tom", "▁"] and sentencepiece.tokenize("Tom") == ["▁Tom"]
    # A token across prompt and response is not trained on: generation starts after the prompt's own tokens.
    asked, said = causal_lm.encode_row(PROMPT, "//x", sentencepiece)
    assert official(PROMPT, "//x", sentencepiece)[0] != asked == causal_lm.encode(PROMPT, sentencepiece)
    assert sentencepiece.convert_ids_to_tokens(said) == ["▁", "/", "/", "x"]


@pytest.mark.parametrize(
    ("kind", "settings", "expected"),
    [
        ("hra", {"precision": "bf16"}, "float32"),
        ("hra", {"precision": "bf16", "base_precision": "bf16"}, "bf16"),
        ("hra", {"precision": "bf16", "quantization": "nf4"}, "bf16"),
        ("full", {"precision": "bf16", "base_precision": "bf16"}, "float32"),
    ],
)
def test_the_base_model_is_loaded_in_its_own_precision(make_math_run, monkeypatch, kind, settings, expected):
    class Loaded(Exception):
        pass

    def load_model(folder, precision, *_):
        raise Loaded(precision)

    job = make_math_run(method(kind, targets=LLAMA_TARGETS), **settings).train
    monkeypatch.setattr(causal_lm, "load_model", load_model)
    with pytest.raises(Loaded, match=f"^{expected}$"):
        train_math.main(job)


@pytest.fixture
def photograph():
    """Noise, in which every interpolation differs; (300, 401): the longer side is rounded down."""
    pixels = torch.randint(256, (300, 401, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return Image.fromarray(pixels.numpy())


def test_subject_images_are_resized_as_in_the_official_training(photograph):
    expected = transforms.Resize(64, interpolation=transforms.InterpolationMode.BILINEAR)(photograph)
    samples = dreambooth.Samples([photograph], [photograph], 64, seed=0)
    whole = transforms.ToTensor()(expected) * 2 - 1
    assert whole.shape == (3, 64, 85)
    for part in samples[0]:
        crops = whole.unfold(2, 64, 1).permute(2, 0, 1, 3)
        assert (crops - part["pixels"]).abs().amax((1, 2, 3)).min() < 1e-5


def test_centred_crops_are_encoded_once(photograph):
    samples = dreambooth.Samples([photograph] * 2, [], 64, seed=0, centred=True, prompts=[0, 1])
    encode = transforms.Compose([transforms.Resize(64), transforms.CenterCrop(64), transforms.ToTensor()])
    before = samples[0][0]
    samples.encode(lambda pixels: pixels + 1)
    after = samples[0][0]
    torch.testing.assert_close(before["pixels"], encode(photograph) * 2 - 1)
    torch.testing.assert_close(after["posterior"], before["pixels"] + 1)
    assert samples.are_encoded() and before["frame"] == after["frame"] == (300, 401, 0, 10)
    assert {samples[n][0]["prompt"] for n in range(2)} == {0, 1}


@pytest.mark.parametrize(("kind", "side"), [(LpipsVgg, 512), (StLpips, 224)])
def test_lpips_sees_what_the_official_transform_gives(photograph, monkeypatch, kind, side):
    monkeypatch.setattr(kind, "load", lambda *_: torch.nn.Identity())
    normalise = transforms.Normalize(mean=[0.5, 0.5, 0.5], std=[0.5, 0.5, 0.5])
    transform = transforms.Compose([transforms.Resize((side, side)), transforms.ToTensor(), normalise])
    torch.testing.assert_close(kind({}, None, "cpu").pixels(photograph), transform(photograph))


def test_class_images_are_those_of_the_pipeline_as_it_is(make_subject_run):
    import generate_class_images

    run, text = make_subject_run(method("full")), "a photo of a ball"
    job = run.class_images(scheduler="model", inference_steps=4, images=1)
    generate_class_images.main(job)
    (made,) = images.unpack(job["output"]["shard"])
    pipeline = StableDiffusionPipeline.from_pretrained(manifests.folder(run.tiny["model"]), safety_checker=None)
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(seed("class image", 0, text, 0)))
    expected = pipeline(text, num_inference_steps=4, height=32, width=32, latents=noise).images[0]
    assert made.image.tobytes() == expected.tobytes()


def test_the_defaults_are_the_official_code_s():
    config = paper_config()
    tasks = load(config)
    wanted = {"scheduler": "model", "inference_steps": 50, "guidance": 7.5, "precision": "fp16", "images": 200}
    subject = tasks["subject"]
    assert subject.class_sampling().items() >= (wanted | {"safety_checker": False}).items()
    assert subject.sampling().items() >= {"inference_steps": 25, "images": 4, "safety_checker": True}.items()
    assert config["tasks"]["subject"]["defaults"]["precision"] == "float32"
    math = {"precision": "bf16", "base_precision": "float32", "group_by_length": False}
    assert config["tasks"]["math"]["defaults"].items() >= math.items()


SIDE = 8


def plain(first: int, number: int) -> list[Image.Image]:
    """Return images of one colour each, by which their crops are recognised."""
    return [Image.new("RGB", (SIDE, SIDE), (grey, grey, grey)) for grey in range(first, first + number)]


def shown(part: dict) -> int:
    return round((part["pixels"].mean().item() + 1) * 127.5)


@pytest.mark.parametrize(("subject", "of_class"), [(3, 12), (12, 3), (4, 0)])
def test_an_epoch_uses_every_image_equally_often_and_the_next_one_in_another_order(subject, of_class):
    samples = dreambooth.Samples(plain(0, subject), plain(100, of_class), SIDE, seed=0)
    length, starts = max(subject, of_class), range(0, 3 * max(subject, of_class), max(subject, of_class))
    orders = [[shown(part) for n in range(start, start + length) for part in samples[n]] for start in starts]
    times = dict.fromkeys(range(subject), length // subject)
    times |= {100 + number: length // of_class for number in range(of_class)}
    assert all(Counter(order) == times for order in orders)
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_images_of_the_class_have_the_last_prompt():
    samples = dreambooth.Samples(plain(0, 3), plain(100, 6), SIDE, seed=0, prompts=[0, 1, 0])
    used = {shown(part): part["prompt"] for n in range(6) for part in samples[n]}
    assert used == {0: 0, 1: 1, 2: 0} | dict.fromkeys(range(100, 106), 2)


class Begun(Exception):
    """Ends a training before its first step."""


def test_each_image_is_trained_on_with_the_words_for_it(make_subject_run, monkeypatch):
    run = make_subject_run(unet_method())

    def begin(job, model, architecture, samples, conditions, *_):
        raise Begun(samples, conditions)

    monkeypatch.setattr(dreambooth, "Trainer", begin)
    with pytest.raises(Begun) as begun:
        train_subject.main(run.train)
    samples, conditions = begun.value.args
    architecture = diffusion.architecture_in(manifests.folder(run.tiny["model"]))
    for part, words in zip(samples[0], ("instance", "class"), strict=True):
        expected = architecture.embeddings([run.train["params"]["prompts"][words]], "float32", "cpu")
        for name, value in expected.items():
            torch.testing.assert_close(conditions[name][part["prompt"]], value[0])
