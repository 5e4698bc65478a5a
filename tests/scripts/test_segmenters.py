"""Networks of the evaluators of control: SegFormer in two libraries, landmarks of faces; wrong weights."""

import copy
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image

from hra_workflow.core.errors import JobError
from hra_workflow.evaluators import registry, segmentation
from hra_workflow.evaluators.protocol import Reference

WIDTHS, HEADS, REDUCTIONS, HEAD_WIDTH = [8, 16, 24, 32], [1, 2, 3, 4], [8, 4, 2, 1], 16


def randomise(model) -> None:
    """Randomise all parameters and statistics, including norms."""
    torch.manual_seed(0)
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2)
        elif tensor.is_floating_point():
            tensor.normal_(0, 1 / max(tensor[0].numel(), 1) ** 0.5 if tensor.ndim > 1 else 0.5)
            if tensor.ndim == 1 and name.endswith("weight"):
                tensor += 1


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Write a scaled-down B4 config, and random weights for it in a .pth file with OpenMMLab's layout."""
    folder = tmp_path_factory.mktemp("segformer")
    mmseg = segmentation.import_mmseg()
    from mmengine import Config
    from mmseg.apis import init_model

    settings = Config.fromfile(Path(mmseg.__file__).parent / ".mim/configs" / segmentation.B4)
    settings.model.backbone.update(embed_dims=8, num_heads=HEADS, num_layers=[1, 2, 1, 1])
    settings.model.decode_head.update(in_channels=WIDTHS, channels=HEAD_WIDTH)
    config = folder / "tiny.py"
    settings.dump(config)
    model = init_model(Config.fromfile(config), device="cpu")
    randomise(model)
    bias = model.decode_head.conv_seg.bias.data
    bias[:7], bias[7:] = 0, -100  # wall, building, sky, floor, tree, ceiling, road: some of it is right
    torch.save({"meta": {"CLASSES": ("wall",)}, "state_dict": model.state_dict()}, folder / "tiny.pth")
    return {"kind": "segformer-mmseg", "config": str(config)}, folder


@pytest.fixture(scope="module")
def mmsegmentation(tiny):
    return registry.load(*tiny)


def test_mmsegmentation_sees_blue_first(mmsegmentation, monkeypatch):
    import mmseg.apis

    seen = []
    monkeypatch.setattr(mmseg.apis, "inference_model", lambda model, images: seen.extend(images) or [])
    mmsegmentation.classes([Image.new("RGB", (2, 2), (1, 2, 3))])
    assert seen[0][0, 0].tolist() == [3, 2, 1]


@pytest.fixture
def nvlabs(tmp_path):
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    sizes = {"hidden_sizes": WIDTHS, "num_attention_heads": HEADS, "depths": [1, 2, 1, 1], "sr_ratios": REDUCTIONS}
    config = SegformerConfig(**sizes, decoder_hidden_size=HEAD_WIDTH, num_labels=150)
    model = SegformerForSemanticSegmentation(config).eval()
    randomise(model)
    model.save_pretrained(tmp_path)
    return registry.load({"kind": "segformer-nvlabs"}, tmp_path)


def test_an_image_is_seen_as_by_nvlabs_pipeline(nvlabs):
    """Resized to a short side of 512, normalised by ImageNet's statistics; classes at the image's own size."""
    eps = [module.eps for module in nvlabs.model.modules() if isinstance(module, torch.nn.LayerNorm)]
    assert (eps.count(1e-6), eps.count(1e-5)) == (2 * 5 + 4, 4 + 4)  # blocks and stages; stages and reductions
    image = Image.fromarray(numpy.random.default_rng(0).integers(0, 256, (64, 80, 3), numpy.uint8))
    resized = numpy.asarray(image.resize((640, 512), Image.Resampling.BILINEAR)) / 255
    expected = (resized - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    assert numpy.abs(nvlabs.pixels(image).permute(1, 2, 0).numpy() - expected).max() < 1e-4
    (found,) = nvlabs.classes([image])
    assert found.shape == (64, 80) and len(numpy.unique(found)) > 1


@torch.no_grad()
@pytest.mark.parametrize("kind", ["mmsegmentation", "nvlabs"])
def test_a_batch_gives_the_scores_of_single_images(request, monkeypatch, kind):
    evaluator = request.getfixturevalue(kind)
    generator = numpy.random.default_rng(0)
    shown = [Image.fromarray(generator.integers(0, 256, (*size, 3), numpy.uint8)) for size in ((9, 8), (9, 8), (8, 9))]
    labels = [numpy.asarray(generator.integers(0, 7, image.size[::-1]), numpy.uint8) for image in shown]
    scores = []
    for batch in (1, 2):
        monkeypatch.setattr(evaluator, "batch", batch)
        scores.append(evaluator.score(shown, Reference(annotations=labels)))
    assert scores[0] == scores[1]
    pixels = torch.randn(3, 3, 64, 96, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    network = copy.deepcopy(evaluator.model).double()
    logits = [getattr(found := network(part), "logits", found) for part in (pixels, *pixels.split(1))]
    assert (torch.cat(logits[1:]) - logits[0]).abs().max() < 1e-12 * logits[0].abs().max()


@pytest.mark.full
def test_face_alignment_runs_from_files(tmp_path, monkeypatch):
    """No face gives nothing, and given boxes 68 points each; S3FD's random weights see no face anywhere."""
    from face_alignment.api import FAN
    from face_alignment.detection.sfd.net_s3fd import s3fd

    torch.manual_seed(0)
    torch.save(FAN(4).state_dict(), tmp_path / "2DFAN4-11f355bf06.pth.tar")
    detector = s3fd().state_dict()
    for name, tensor in detector.items():
        if name.endswith("conf.bias"):
            tensor[:-1], tensor[-1] = 1e4, -1e4
    torch.save(detector, tmp_path / "s3fd-619a316812.pth")
    face_alignment = registry.load({"kind": "face-alignment"}, tmp_path)
    picture = Image.effect_noise((96, 80), 60).convert("RGB")
    assert face_alignment.faces(picture) == []
    boxes = [numpy.array([8, 8, 40, 40, 0.9]), numpy.array([50, 30, 80, 60, 0.6])]
    monkeypatch.setattr(face_alignment.network.face_detector, "detect_from_image", lambda pixels: boxes)
    found = face_alignment.faces(picture)
    assert [points.shape for points in found] == [(68, 2), (68, 2)]
    for points, (left, top, right, bottom, _) in zip(found, boxes, strict=True):
        middle = numpy.array([(left + right) / 2, (top + bottom) / 2])
        assert (abs(points - middle) < 2 * (right - left)).all()


def test_wrong_weights(tiny, tmp_path):
    evaluator, folder = tiny
    state = torch.load(folder / "tiny.pth", weights_only=True)["state_dict"]
    changed = {f"{name}.other" if name == "decode_head.conv_seg.bias" else name: state[name] for name in state}
    torch.save(changed, tmp_path / "other.pth")
    for source, place, message in (
        (evaluator, tmp_path, r"weights of another model.*decode_head\.conv_seg\.bias"),
        (evaluator, tmp_path / "nowhere", r"expected one file \*\.pth, found 0"),
        ({"kind": "face-alignment"}, tmp_path / "nowhere", r"expected one file 2DFAN4-\S+, found 0"),
        (evaluator | {"config": "segformer/b9.py"}, folder, r"segformer/b9\.py: no such file"),
    ):
        with pytest.raises(JobError, match=message):
            registry.load(source, place)
