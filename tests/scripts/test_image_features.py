"""Image evaluators: tiny DINO and CLIP, LPIPS's formula."""

import json
from random import Random

import pytest
import torch
from PIL import Image

from hra_workflow.demo import object_images
from hra_workflow.evaluators import registry
from hra_workflow.evaluators.protocol import Reference
from support import ROOT

PROCESSOR = {
    "image_processor_type": "CLIPImageProcessor",
    "size": {"shortest_edge": 32},
    "crop_size": {"height": 32, "width": 32},
}
VISION = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
VISION |= {"image_size": 32, "patch_size": 8}


@pytest.fixture(scope="module")
def shown() -> list[Image.Image]:
    rng = Random(0)
    return [Image.fromarray(object_images.picture(object_images.scene(rng))[0]) for _ in range(5)]


def test_clip_is_clip_s_similarity(tmp_path, shown):
    """Compare the cosine similarities with transformers' own logits, in one batch of texts or several."""
    from transformers import AutoImageProcessor, CLIPConfig, CLIPModel, CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(ROOT / "workflow/pictures-sd/tokenizer")
    special = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    sizes = {name: VISION[name] for name in VISION if name not in ("image_size", "patch_size")}
    text = sizes | special | {"vocab_size": len(tokenizer), "max_position_embeddings": 32}
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=VISION, projection_dim=12)).eval()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    texts = ["a photo of a red ball", "a star", "qwe"]
    features = registry.load({"kind": "clip"}, tmp_path)
    pixels = AutoImageProcessor.from_pretrained(tmp_path)(shown, return_tensors="pt")
    tokens = tokenizer(texts, padding="max_length", return_tensors="pt")
    with torch.no_grad():
        logits = model(**pixels, **tokens).logits_per_image / model.logit_scale.exp()
    alone = torch.cat([features.texts([text]) for text in texts])
    for found in (alone, features.texts(texts)):
        torch.testing.assert_close(features.images(shown) @ found.T, logits, atol=1e-5, rtol=0)


def test_dino_is_the_cls_token_of_the_last_layer(tmp_path, shown):
    from transformers import AutoConfig, AutoImageProcessor, AutoModel

    torch.manual_seed(0)
    model = AutoModel.from_config(AutoConfig.for_model("vit", **VISION)).eval()
    model.save_pretrained(tmp_path)
    processor = PROCESSOR | {"image_processor_type": "ViTImageProcessor"}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    pixels = AutoImageProcessor.from_pretrained(tmp_path, backend="pil")(shown, return_tensors="pt").pixel_values
    with torch.no_grad():
        expected = torch.nn.functional.normalize(model(pixels).last_hidden_state[:, 0], dim=1)
    dino = registry.load({"kind": "dino"}, tmp_path)
    dino.batch = 2
    torch.testing.assert_close(dino.images(shown), expected, atol=1e-4, rtol=0)
    found = torch.tensor(dino.score(shown, Reference(images=shown[:1])).images[""])
    torch.testing.assert_close(found, expected @ expected[0], atol=1e-4, rtol=0)


def test_lpips_is_its_formula(tmp_path, shown):
    """Compare with the paper's, by layer: unit length over channels, weighted squares, mean over positions, sum.

    The weights are random, under the names of torchvision's vgg16 and lpips' vgg.pth.
    """
    widths, indices = (64, 128, 256, 512, 512), (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    channels = [width for width, count in zip(widths, (2, 2, 3, 3, 3), strict=True) for _ in range(count)]
    torch.manual_seed(0)
    backbone = {"classifier.0.weight": torch.zeros(1)}
    for index, before, after in zip(indices, [3, *channels], channels, strict=False):
        backbone[f"features.{index}.weight"] = torch.randn(after, before, 3, 3) * (2 / 9 / before) ** 0.5
        backbone[f"features.{index}.bias"] = torch.randn(after) * 0.1
    torch.save(backbone, tmp_path / "vgg16-397923af.pth")
    layers = {f"lin{index}.model.1.weight": torch.rand(1, width, 1, 1) for index, width in enumerate(widths)}
    torch.save(layers, tmp_path / "vgg.pth")
    lpips = registry.load({"kind": "lpips-vgg"}, tmp_path)
    lpips.side = 32
    pixels = torch.stack([(lpips.pixels(picture) + 1) / 2 for picture in shown[:2]])
    # ImageNet's mean and standard deviation for pixels of 0 to 1.
    mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
    x = (pixels - mean) / deviation
    total = 0
    with torch.no_grad():
        for index, part in enumerate(lpips.network.slices):
            x = part(x)
            first, second = torch.nn.functional.normalize(x, dim=1)
            total += (layers[f"lin{index}.model.1.weight"][0] * (first - second) ** 2).sum(0).mean()
    torch.testing.assert_close(lpips.distances(shown[:1], shown[1:2])[0, 0], total, rtol=1e-3, atol=0)
