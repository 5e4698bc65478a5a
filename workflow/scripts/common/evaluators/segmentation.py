"""What a picture's pixels show: SegFormer on ADE20K, in mmsegmentation and as NVlabs wrote it, which the paper used.

`load` gives an object with `classes(picture)`, (height, width) of 0 to 149. The two evaluators have weights of their
own and differ in the network: mmsegmentation's head has batch norm and ReLU after each stage's projection, NVlabs' a
plain linear layer; mmsegmentation's layer norms all have eps 1e-6, NVlabs' only some of them.
"""

import sys
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy
from PIL import Image

from common.core.errors import JobError
from common.data import safe_checkpoints
from common.evaluators import image_features
from common.tasks.control.task import SEGMENTATION

SHORT_SIDE = 512  # pixels, of both evaluators' test pipelines
B4 = "segformer/segformer_mit-b4_8xb2-160k_ade20k-512x512.py"  # of mmsegmentation
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # ImageNet's, of 255


def load(evaluator: dict, folder: str | Path | None = None, device: str = "cpu"):
    """The evaluator of a `kind` of SEGMENTATION, from the folder of its weights.

    segformer-mmseg: one .pth file; `config`: a path, or one under mmsegmentation's packaged configs, B4 if none is
    named, whose weights' address and 48.46 % mIoU stand in metafile.yaml beside it. segformer-nvlabs: a model of
    transformers (`nvidia/segformer-b4-finetuned-ade-512-512`). object-mask: generated scenes, no weights.
    """
    kind = evaluator["kind"]
    if kind == "segformer-mmseg":
        return Mmsegmentation(evaluator.get("config") or B4, Path(folder), device)
    if kind == "segformer-nvlabs":
        return Nvlabs(Path(folder), device)
    if kind == "object-mask":
        from common.demo import scene_controls

        return scene_controls.Segmenter()
    raise JobError(f"evaluator {kind!r}: not one of {', '.join(SEGMENTATION)}.")


def mmsegmentation(config: str, device: str = "cpu"):
    """The model of a config of mmsegmentation: a path, or one under its packaged configs."""
    mmseg = import_mmseg()
    from mmengine import Config
    from mmseg.apis import init_model

    path = Path(config) if Path(config).exists() else Path(mmseg.__file__).parent / ".mim/configs" / config
    if not path.is_file():
        raise JobError(f"{config}: no such file, nor one under {path.parent}. Correct the evaluator's `config`.")
    return init_model(Config.fromfile(path), device=device)


def initialise(folder: Path, config: str, seed: int = 0) -> None:
    """Write `random.pth`: randomly initialised weights of the model of a config of mmsegmentation."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = mmsegmentation(config)
    torch.save({"state_dict": model.state_dict()}, folder / "random.pth")


class Mmsegmentation:
    """A model of mmsegmentation with its own test pipeline (Resize to a short side of 512, whole picture)."""

    def __init__(self, config: str, folder: Path, device: str):
        checkpoint = image_features.state_dict(folder, "*.pth")
        self.model = mmsegmentation(config, device)
        try:
            self.model.load_state_dict(checkpoint.get("state_dict", checkpoint))
        except RuntimeError as problem:
            raise foreign(folder, problem) from problem

    def classes(self, picture: Image.Image) -> numpy.ndarray:
        from mmseg.apis import inference_model

        blue_first = numpy.ascontiguousarray(numpy.asarray(picture.convert("RGB"))[..., ::-1])
        return inference_model(self.model, blue_first).pred_sem_seg.data[0].cpu().numpy().astype(numpy.uint8)


class Nvlabs:
    """NVlabs' SegFormer in transformers, its layer norms as in NVlabs' code."""

    def __init__(self, folder: Path, device: str):
        from transformers import SegformerForSemanticSegmentation

        try:
            with safe_checkpoints.named(folder):
                model, loading = SegformerForSemanticSegmentation.from_pretrained(
                    folder, dtype="float32", weights_only=True, output_loading_info=True
                )
        except (OSError, RuntimeError) as problem:
            raise foreign(folder, problem) from problem
        strange = sorted({*loading["missing_keys"], *loading["unexpected_keys"]})
        if strange := [name for name in strange if not name.endswith("num_batches_tracked")]:  # of no use here
            raise foreign(folder, f"{strange[0]} is in one of them only")
        set_layer_norms(model)
        self.model = model.eval().to(device)

    def classes(self, picture: Image.Image) -> numpy.ndarray:
        import torch

        picture = picture.convert("RGB")
        scale = SHORT_SIDE / min(picture.size)
        resized = picture.resize([round(side * scale) for side in picture.size], Image.Resampling.BILINEAR)
        pixels = (numpy.asarray(resized, numpy.float32) - MEAN) / STD
        pixels = torch.from_numpy(pixels).float().permute(2, 0, 1)[None].to(self.model.device)
        with torch.inference_mode():
            logits = self.model(pixels).logits
            logits = torch.nn.functional.interpolate(logits, picture.size[::-1], mode="bilinear", align_corners=False)
        return logits.argmax(1)[0].cpu().numpy().astype(numpy.uint8)


def foreign(folder: Path, problem) -> JobError:
    reason = " ".join(" ".join(str(problem).split("\n")[:2]).split())  # a line a layer would follow
    return JobError(f"{folder}: weights of another model ({reason}). Correct the evaluator or the model's `source`.")


def set_layer_norms(model) -> None:
    """NVlabs' eps for the layer norms of transformers' SegFormer, which builds all with 1e-5.

    In NVlabs' mix_transformer.py those of blocks and stages have 1e-6, the others PyTorch's 1e-5.
    """
    import torch

    for name, module in model.segformer.named_modules():
        if isinstance(module, torch.nn.LayerNorm):
            default = "patch_embeddings" in name or "sequence_reduction" in name
            module.eps = 1e-5 if default else 1e-6


def import_mmseg() -> ModuleType:
    """mmseg with its models, also where mmcv has no compiled operators (mmcv-lite): SegFormer needs none of them."""
    import importlib.util

    import mmcv

    if importlib.util.find_spec("mmcv._ext") is None:
        with stand_in("mmcv._ext"):
            import mmcv.ops  # noqa: F401
    import mmseg.apis

    return mmseg


@contextmanager
def stand_in(name: str):
    """A module that has every operator, none of which works; gone afterwards, as mmengine takes it for the real one."""

    def missing(operator: str):
        if operator.startswith("__"):  # what Python itself asks of modules
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
