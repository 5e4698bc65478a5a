"""Control accuracy of segmentation maps: SegFormer on ADE20K, in mmsegmentation's and NVlabs' (the paper's) version.

The two evaluators have different weights and slightly different networks: mmsegmentation's head has batch norm and ReLU
after each stage's projection, NVlabs' a plain linear layer; all layer norms have eps 1e-6 in mmsegmentation, but only
some in NVlabs' code.
"""

import sys
from collections.abc import Collection
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy
from PIL import Image

from hra_workflow.core.errors import JobError, check_sizes
from hra_workflow.data import safe_checkpoints
from hra_workflow.evaluators import batches
from hra_workflow.evaluators.protocol import Evaluator, Needs, Reference, Scores
from hra_workflow.models import pretrained

CLASSES = 150  # in ADE20K
IGNORED = 255  # label of pixels without a class
BOOTSTRAP_SAMPLES = 1000
SHORT_SIDE = 512  # pixels, in both evaluators' test pipelines
B4 = "segformer/segformer_mit-b4_8xb2-160k_ade20k-512x512.py"  # in mmsegmentation
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # ImageNet's, for values up to 255


class Segmenter(Evaluator):
    """mIoU, mAcc and aAcc between the classes in an image and those of its source image.

    Subclasses implement `classes(images)`, for images of one size: (height, width) of 0 to CLASSES − 1 per image.
    """

    metrics = of_run = ("_miou", "_macc", "_aacc")
    better = "higher"
    needs = Needs(model=True, images="source", annotation=("classes", "colours"))
    batch = 1

    def score(self, images: Collection, reference: Reference) -> Scores:
        pairs = zip(batches.results(self.classes, images, self.batch), reference.annotations, strict=True)
        areas = [class_areas(*pair) for pair in pairs]
        # An image without a labelled pixel has no per-image score.
        found = [segmentation_scores(one) if one[2].any() else {} for one in areas]
        own = {end: [float(one[end]) if one else None for one in found] for end in self.metrics}
        return Scores(own, segmentation_summary(numpy.array(areas)))


# Areas per image, (3, classes), then scores over all images.


def class_areas(predicted: numpy.ndarray, labels: numpy.ndarray, classes: int = CLASSES) -> numpy.ndarray:
    """Count correct, predicted and labelled pixels, (3, classes).

    predicted, labels: (height, width) of 0 to classes − 1; pixels labelled IGNORED are not counted.
    """
    # torchmetrics' confusion matrix gives the same integers in 21 ms per image of 512 × 512; this takes 1 ms.
    check_sizes(predicted.shape[::-1], labels.shape[::-1], "predicted classes")
    known = labels != IGNORED
    for what, found in (("predicted classes", predicted), ("labels", labels[known])):
        if found.size and not 0 <= found.min() <= found.max() < classes:
            raise JobError(f"expected {what} 0 to {classes - 1}, found {found.min()} to {found.max()}.")
    predicted, labels = predicted[known], labels[known]
    counted = (labels[predicted == labels], predicted, labels)
    return numpy.stack([numpy.bincount(part, minlength=classes) for part in counted])


def segmentation_scores(areas: numpy.ndarray) -> dict[str, numpy.ndarray]:
    """Compute `_miou`, `_macc` and `_aacc` from areas (..., 3, classes) that are summed over images.

    As in mmsegmentation's IoUMetric: IoU = correct / (predicted + labelled − correct), class accuracy = correct /
    labelled, means over the classes for which they are defined; aAcc = correct / labelled over all pixels.
    """
    correct, predicted, labelled = numpy.moveaxis(numpy.asarray(areas, float), -2, 0)
    with numpy.errstate(invalid="ignore"):
        return {
            "_miou": numpy.nanmean(correct / (predicted + labelled - correct), axis=-1),
            "_macc": numpy.nanmean(correct / labelled, axis=-1),
            "_aacc": correct.sum(-1) / labelled.sum(-1),
        }


def segmentation_summary(areas: numpy.ndarray, samples: int = BOOTSTRAP_SAMPLES) -> dict[str, dict[str, float]]:
    """Compute each score's `value` and `stderr` (bootstrap over images) from the images' areas (N, 3, classes)."""
    areas = numpy.asarray(areas, float)
    count = len(areas)
    if not areas[:, 2].sum():
        raise JobError("expected labelled pixels, found none in any image. Check whether all labels are 0 or 255.")
    drawn = numpy.random.default_rng(0).multinomial(count, numpy.full(count, 1 / count), samples)
    spread = segmentation_scores((drawn @ areas.reshape(count, -1)).reshape(samples, *areas.shape[1:]))
    return {
        name: {"value": float(value), "stderr": float(numpy.nanstd(spread[name], ddof=1))}
        for name, value in segmentation_scores(areas.sum(0)).items()
    }


# Networks


def mmsegmentation(config: str, device: str = "cpu"):
    """Build the model of an mmsegmentation config: a path, or the name of a packaged config."""
    mmseg = import_mmseg()
    from mmengine import Config
    from mmseg.apis import init_model

    path = Path(config) if Path(config).exists() else Path(mmseg.__file__).parent / ".mim/configs" / config
    if not path.is_file():
        raise JobError(f"{config}: no such file, also not under {path.parent}. Correct the evaluator's `config`.")
    return init_model(Config.fromfile(path), device=device)


def initialise(folder: Path, config: str, seed: int = 0) -> None:
    """Write `random.pth`: randomly initialised weights of the model of an mmsegmentation config."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = mmsegmentation(config)
    torch.save({"state_dict": model.state_dict()}, folder / "random.pth")


class Mmsegmentation(Segmenter):
    """An mmsegmentation model with the model's test pipeline (resize to a short side of 512, no sliding window).

    The model is one .pth file. `config`: a path, or the name of a packaged mmsegmentation config; default: B4, whose
    weights' URL and 48.46 % mIoU are in metafile.yaml next to it.
    """

    needs = replace(Segmenter.needs, options=("config",))

    def __init__(self, entry: dict, folder: Path, device: str):
        checkpoint = safe_checkpoints.tensors_of(folder, "*.pth")
        self.model, self.batch = mmsegmentation(entry.get("config") or B4, device), batches.size(device, 8)
        try:
            self.model.load_state_dict(checkpoint.get("state_dict", checkpoint))
        except RuntimeError as problem:
            raise mismatch(folder, problem) from problem

    def classes(self, images: list[Image.Image]) -> list[numpy.ndarray]:
        from mmseg.apis import inference_model

        blue_first = [numpy.ascontiguousarray(numpy.asarray(image.convert("RGB"))[..., ::-1]) for image in images]
        found = inference_model(self.model, blue_first)
        return [one.pred_sem_seg.data[0].cpu().numpy().astype(numpy.uint8) for one in found]


class Nvlabs(Segmenter):
    """NVlabs' SegFormer in transformers (`nvidia/segformer-b4-finetuned-ade-512-512`), layer norms as in its code."""

    def __init__(self, entry: dict, folder: Path, device: str):
        from transformers import SegformerForSemanticSegmentation

        try:
            with safe_checkpoints.named(folder):
                model, loading = pretrained.load(
                    SegformerForSemanticSegmentation,
                    folder,
                    dtype="float32",
                    weights_only=True,
                    output_loading_info=True,
                )
        except (OSError, RuntimeError) as problem:
            raise mismatch(folder, problem) from problem
        unexpected = sorted({*loading["missing_keys"], *loading["unexpected_keys"]})
        if unexpected := [name for name in unexpected if not name.endswith("num_batches_tracked")]:  # not needed here
            raise mismatch(folder, f"{unexpected[0]} is in one of them only")
        set_layer_norms(model)
        self.model, self.batch = model.eval().to(device), batches.size(device, 8)

    def classes(self, images: list[Image.Image]) -> list[numpy.ndarray]:
        import torch

        pixels = torch.stack([self.pixels(image.convert("RGB")) for image in images]).to(self.model.device)
        with torch.inference_mode():
            logits = self.model(pixels).logits
            size = images[0].size[::-1]
            logits = torch.nn.functional.interpolate(logits, size, mode="bilinear", align_corners=False)
        return list(logits.argmax(1).cpu().numpy().astype(numpy.uint8))

    def pixels(self, image: Image.Image):
        """Resize to a short side of SHORT_SIDE and normalise, (3, height, width)."""
        import torch

        scale = SHORT_SIDE / min(image.size)
        resized = image.resize([round(side * scale) for side in image.size], Image.Resampling.BILINEAR)
        return torch.from_numpy((numpy.asarray(resized, numpy.float32) - MEAN) / STD).float().permute(2, 0, 1)


def mismatch(folder: Path, problem) -> JobError:
    reason = " ".join(" ".join(str(problem).split("\n")[:2]).split())  # one line per layer would follow
    return JobError(f"{folder}: weights of another model ({reason}). Correct the evaluator or the model's `source`.")


def set_layer_norms(model) -> None:
    """Set NVlabs' eps in the layer norms of transformers' SegFormer, which all have 1e-5.

    In NVlabs' mix_transformer.py, those of blocks and stages have 1e-6, the others PyTorch's 1e-5.
    """
    import torch

    for name, module in model.segformer.named_modules():
        if isinstance(module, torch.nn.LayerNorm):
            default = "patch_embeddings" in name or "sequence_reduction" in name
            module.eps = 1e-5 if default else 1e-6


def import_mmseg() -> ModuleType:
    """Import mmseg with its models, even without mmcv's compiled operators (mmcv-lite): SegFormer needs none."""
    import importlib.util

    import mmcv

    if importlib.util.find_spec("mmcv._ext") is None:
        with stand_in("mmcv._ext"):
            import mmcv.ops  # noqa: F401
    import mmseg.apis

    return mmseg


@contextmanager
def stand_in(name: str):
    """Provide a module in which every operator exists but fails; removed afterwards, as mmengine would rely on it."""

    def missing(operator: str):
        if operator.startswith("__"):  # Python's own module attributes
            raise AttributeError(operator)

        def refuse(*_, **__):
            raise NotImplementedError(f"{operator}: mmcv-lite has no compiled operators; install mmcv.")

        return refuse

    module = ModuleType(name)
    module.__getattr__ = missing
    sys.modules[name] = module
    try:
        yield
    finally:
        del sys.modules[name]
