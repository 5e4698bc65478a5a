"""SegFormer in two libraries: the same network in both, mmsegmentation's evaluation of real images, wrong weights."""

import copy
import sys
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image

from hra_workflow.core.errors import JobError
from hra_workflow.data import sources
from hra_workflow.evaluators import registry, segmentation
from hra_workflow.evaluators.protocol import Reference
from hra_workflow.tasks.control import hints
from support import SHARED

ADE = SHARED / "data/ade20k_sample"
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


def test_random_weights_by_an_entry_of_the_config(tiny, mmsegmentation, tmp_path):
    """Check that random weights are deterministic for a seed and are loaded like published weights."""
    evaluator = tiny[0]
    source = {"kind": "init", "generator": "hra_workflow.evaluators.segmentation:initialise", "seed": 3}
    source["config"] = evaluator["config"]
    states = []
    for name in "ab":
        sources.of(source).fetch(tmp_path / name)
        states.append(registry.load(evaluator, tmp_path / name).model.state_dict())
    first, second = states
    assert first.keys() == mmsegmentation.model.state_dict().keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def transformers_segformer():
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    config = SegformerConfig(
        hidden_sizes=WIDTHS,
        num_attention_heads=HEADS,
        depths=[1, 2, 1, 1],
        sr_ratios=REDUCTIONS,
        decoder_hidden_size=HEAD_WIDTH,
        num_labels=150,
    )
    return SegformerForSemanticSegmentation(config).eval()


def batch_norm_into(convolution, norm):
    """Weight and bias of the linear layer that a convolution of 1 × 1 and a batch norm make together."""
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return convolution.weight[:, :, 0, 0] * scale[:, None], norm.bias - norm.running_mean * scale


@torch.no_grad()
def in_transformers(model):
    """Convert mmsegmentation's network to a transformers SegFormer, parameter by parameter in order."""
    theirs, ours = transformers_segformer(), model.double()
    theirs = theirs.double()
    for stage, (embed, blocks, norm) in zip(theirs.segformer.stages, ours.backbone.layers, strict=True):
        copies = [(stage.patch_embeddings.proj, embed.projection), (stage.patch_embeddings.layer_norm, embed.norm)]
        copies.append((stage.layer_norm, norm))
        for target, block in zip(stage.blocks, blocks, strict=True):
            copies += [(target.layernorm_before, block.norm1), (target.layernorm_after, block.norm2)]
            attention, width = block.attn.attn, block.attn.attn.embed_dim
            for index, name in enumerate(("q_proj", "k_proj", "v_proj")):
                rows = slice(index * width, (index + 1) * width)
                getattr(target.attention, name).weight.copy_(attention.in_proj_weight[rows])
                getattr(target.attention, name).bias.copy_(attention.in_proj_bias[rows])
            copies.append((target.attention.o_proj, attention.out_proj))
            if block.attn.sr_ratio > 1:
                reduction = target.attention.sequence_reduction
                copies += [(reduction.sequence_reduction, block.attn.sr), (reduction.layer_norm, block.attn.norm)]
            wide, depthwise, narrow = (block.ffn.layers[index] for index in (0, 1, 4))
            for part, source in (("fc1", wide), ("fc2", narrow)):
                getattr(target.mlp, part).weight.copy_(source.weight[:, :, 0, 0])
                getattr(target.mlp, part).bias.copy_(source.bias)
            copies.append((target.mlp.dwconv.dwconv, depthwise))
        for target, source in copies:
            target.load_state_dict(source.state_dict())
    head, source = theirs.decode_head, ours.decode_head
    for projection, module in zip(head.linear_projections, source.convs, strict=True):
        weight, bias = batch_norm_into(module.conv, module.bn)
        projection.proj.weight.copy_(weight)
        projection.proj.bias.copy_(bias)
    stages = source.fusion_conv.conv.weight.split(HEAD_WIDTH, dim=1)
    head.linear_fuse.weight.copy_(torch.cat(stages[::-1], 1))  # transformers concatenates the last stage first
    head.batch_norm.load_state_dict(source.fusion_conv.bn.state_dict())
    head.classifier.load_state_dict(source.conv_seg.state_dict())
    return theirs


def bridge(model) -> None:
    """Test the two differences of mmsegmentation: ReLU after each stage's projection, eps 1e-6 in every layer norm."""
    for projection in model.decode_head.linear_projections:
        projection.register_forward_hook(lambda module, inputs, output: output.relu())
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-6


@torch.no_grad()
def test_one_network_in_both_libraries(mmsegmentation):
    ours = copy.deepcopy(mmsegmentation.model)
    theirs = in_transformers(ours)
    pixels = torch.randn(2, 3, 96, 128, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = ours(pixels)
    unbridged = theirs(pixels).logits
    bridge(theirs)
    came = theirs(pixels).logits
    scale = expected.abs().max()
    assert came.shape == (2, 150, 24, 32) and (came - expected).abs().max() < 1e-12 * scale
    assert (unbridged - expected).abs().max() > 0.01 * scale  # the weights are not interchangeable as they are


def test_the_same_classes_of_a_picture(mmsegmentation, tmp_path):
    """Compare both evaluators from image to classes: normalisation, size, argmax."""
    theirs = in_transformers(copy.deepcopy(mmsegmentation.model)).float()
    theirs.save_pretrained(tmp_path)
    evaluator = registry.load({"kind": "segformer-nvlabs"}, tmp_path)
    bridge(evaluator.model)
    pixels = numpy.random.default_rng(0).integers(0, 256, (16, 20, 3), numpy.uint8)
    picture = Image.fromarray(pixels).resize((640, 512), Image.Resampling.BICUBIC)
    (first,), (second,) = mmsegmentation.classes([picture]), evaluator.classes([picture])
    assert first.shape == second.shape == (512, 640) and len(numpy.unique(first)) >= 3
    assert (first == second).mean() > 0.999
    small = picture.resize((64, 64))
    for one in (mmsegmentation, evaluator):
        assert [found.shape for found in one.classes([small, small])] == [(64, 64)] * 2


@torch.no_grad()
@pytest.mark.parametrize("kind", ["segformer-mmseg", "segformer-nvlabs"])
def test_a_batch_gives_the_scores_of_single_images(mmsegmentation, tmp_path, monkeypatch, kind):
    evaluator = mmsegmentation
    if kind == "segformer-nvlabs":
        in_transformers(copy.deepcopy(mmsegmentation.model)).float().save_pretrained(tmp_path)
        evaluator = registry.load({"kind": kind}, tmp_path)
        bridge(evaluator.model)
    generator = numpy.random.default_rng(0)
    shown = [Image.fromarray(generator.integers(0, 256, (*size, 3), numpy.uint8)) for size in ((9, 8), (9, 8), (8, 9))]
    labels = [numpy.asarray(generator.integers(0, 7, image.size[::-1]), numpy.uint8) for image in shown]
    scores = []
    for batch in (1, 2):
        monkeypatch.setattr(evaluator, "batch", batch)
        scores.append(evaluator.score(shown, Reference(annotations=labels)))
    assert scores[0] == scores[1] and len({*scores[0].images["_aacc"]}) > 1
    pixels = torch.randn(3, 3, 64, 96, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    network = copy.deepcopy(evaluator.model).double()
    logits = [getattr(found := network(part), "logits", found) for part in (pixels, *pixels.split(1))]
    assert (torch.cat(logits[1:]) - logits[0]).abs().max() < 1e-12 * logits[0].abs().max()


def test_layer_norms_are_those_of_nvlabs(tmp_path):
    """Check eps as in mix_transformer.py: 1e-6 for norm_layer (each block twice, each stage), else PyTorch's 1e-5."""
    transformers_segformer().save_pretrained(tmp_path)
    model = registry.load({"kind": "segformer-nvlabs"}, tmp_path).model
    eps = [module.eps for module in model.modules() if isinstance(module, torch.nn.LayerNorm)]
    blocks, stages, reductions = 5, 4, 4  # of the 4 blocks in stages that reduce
    assert eps.count(1e-6) == 2 * blocks + stages and eps.count(1e-5) == stages + reductions


@pytest.mark.real
@pytest.mark.skipif(not ADE.is_dir(), reason="no ../shared/data on this machine")
@pytest.mark.slow
def test_mmsegmentation_s_evaluation_of_ade20k(tiny, mmsegmentation, tmp_path):
    """Compare with mmsegmentation's Runner, dataset, pipeline and IoUMetric on the real sample."""
    from mmengine import Config
    from mmengine.runner import Runner

    settings = Config.fromfile(tiny[0]["config"])
    settings.test_dataloader.dataset.update(
        data_root=str(ADE), data_prefix={"img_path": "images", "seg_map_path": "annotations"}
    )
    settings.test_dataloader.update(num_workers=0, persistent_workers=False)
    settings.model.backbone.init_cfg = None
    settings.update(work_dir=str(tmp_path), log_level="ERROR")
    settings.visualizer.vis_backends = []
    runner = Runner.from_cfg(settings)
    runner.load_checkpoint = lambda *_, **__: None
    runner.model.load_state_dict(mmsegmentation.model.state_dict())
    expected = runner.test()
    areas = []
    for path in sorted((ADE / "images").glob("*.jpg")):
        labels = hints.classes(ADE / "annotations" / path.with_suffix(".png").name)
        areas.append(segmentation.class_areas(*mmsegmentation.classes([Image.open(path)]), labels))
    found = segmentation.segmentation_scores(numpy.sum(areas, axis=0))
    print({name: float(value) for name, value in found.items()}, expected)
    assert len(areas) == 3 and min(found.values()) > 0.005
    for name in ("aAcc", "mIoU", "mAcc"):
        assert 100 * found[f"_{name.lower()}"] == pytest.approx(expected[name], abs=0.0051)


def test_operators_that_mmcv_lite_lacks():
    segmentation.import_mmseg()
    import mmcv.ops

    assert "mmcv._ext" not in sys.modules  # mmengine would take it for the compiled one
    with pytest.raises(NotImplementedError, match="install mmcv"):
        mmcv.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)


def test_wrong_weights(tiny, tmp_path):
    evaluator, folder = tiny
    state = torch.load(folder / "tiny.pth", weights_only=True)["state_dict"]
    changed = {f"{name}.other" if name == "decode_head.conv_seg.bias" else name: state[name] for name in state}
    torch.save(changed, tmp_path / "other.pth")
    with pytest.raises(JobError, match=r"weights of another model.*decode_head\.conv_seg\.bias"):
        registry.load(evaluator, tmp_path)
    with pytest.raises(JobError, match=r"expected one file \*\.pth, found 0"):
        registry.load(evaluator, tmp_path / "nowhere")
    with pytest.raises(JobError, match=r"segformer/b9\.py: no such file"):
        registry.load(evaluator | {"config": "segformer/b9.py"}, folder)
    with pytest.raises(JobError, match=r"segformer-mmseg, segformer-nvlabs, .* or a custom class as module:Class"):
        registry.load({"kind": "segformer"}, folder)


def test_wrong_weights_for_transformers(tmp_path):
    with pytest.raises(JobError, match="weights of another model"):
        registry.load({"kind": "segformer-nvlabs"}, tmp_path)
    model = transformers_segformer()
    model.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    from safetensors.torch import save_file

    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items() if "classifier" not in name}
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(JobError, match=r"decode_head\.classifier\.bias"):
        registry.load({"kind": "segformer-nvlabs"}, tmp_path)
