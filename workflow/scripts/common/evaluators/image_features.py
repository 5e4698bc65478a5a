"""What pictures are compared by: features of DINO, CLIP and their stand-in, and LPIPS's distances.

`load` gives an object with `images(pictures)`, features (N, d) of unit length, so that a product is a cosine; CLIP has
`texts(texts)` as well; LPIPS has `embed(pictures)` and `distances(first, second)` instead. A picture's features do not
depend on what else is in its batch, up to rounding.
"""

from pathlib import Path

from common.core.errors import JobError
from common.data.safe_checkpoints import named, tensors
from common.demo import prompt_fidelity

BATCH = 32
KINDS = ("dino", "clip", "efficientnet-lite0", "lpips-vgg", "st-lpips")
SIDE = {"lpips-vgg": 512, "st-lpips": 224}  # pixels; 512 as in the official evaluation


def load(evaluator: dict, folder: str | Path, device: str = "cpu"):
    """The evaluator of a `kind` of KINDS, from the folder of its weights; `size`: side in pixels for LPIPS, `crop`
    (object): features of the object alone."""
    folder, kind = Path(folder), evaluator["kind"]
    features = {"dino": Dino, "clip": Clip, "efficientnet-lite0": EfficientNet}
    if kind in features:
        found = features[kind](folder, device)
        found.crop = evaluator.get("crop")
        return found
    if kind in SIDE:
        return Lpips(kind, folder, evaluator.get("size") or SIDE[kind], device)
    raise JobError(f"evaluator {kind!r}: not one of {', '.join(KINDS)}.")


class Features:
    """Batches, no gradients, unit length; a kind has `encode`: RGB pictures to (N, d)."""

    crop = None

    def images(self, pictures: list):
        import torch

        if self.crop == "object":
            pictures = [cut_out(picture) for picture in pictures]
        with torch.inference_mode():
            parts = [
                self.encode([picture.convert("RGB") for picture in pictures[first : first + BATCH]])
                for first in range(0, len(pictures), BATCH)
            ]
        return torch.nn.functional.normalize(torch.cat(parts).float().cpu(), dim=1)


# Of transformers' two backends for pixels, `pil`: with torchvision installed the other would be taken, whose resizing
# differs by up to a grey level.


class Dino(Features):
    """The CLS token after the last layer's norm (`facebook/dino-vits16`)."""

    def __init__(self, folder: Path, device: str):
        from transformers import AutoImageProcessor, AutoModel

        self.processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
        with named(folder):
            self.model = AutoModel.from_pretrained(folder, dtype="float32").eval().to(device)

    def encode(self, pictures: list):
        pixels = self.processor(pictures, return_tensors="pt").pixel_values
        return self.model(pixels.to(self.model.device)).last_hidden_state[:, 0]


class Clip(Features):
    """Projected features of picture and text (`openai/clip-vit-large-patch14`)."""

    def __init__(self, folder: Path, device: str):
        from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

        self.processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        with named(folder):
            self.model = CLIPModel.from_pretrained(folder, dtype="float32").eval().to(device)

    def encode(self, pictures: list):
        pixels = self.processor(pictures, return_tensors="pt").pixel_values
        seen = self.model.vision_model(pixels.to(self.model.device))
        return self.model.visual_projection(seen.pooler_output)

    def texts(self, texts: list[str]):
        import torch

        found = []
        with torch.inference_mode():
            for first in range(0, len(texts), BATCH):
                # Padded to the full length as CLIP was trained; the text's end is the same place for any batch.
                tokens = self.tokenizer(
                    texts[first : first + BATCH], padding="max_length", truncation=True, return_tensors="pt"
                ).to(self.model.device)
                found.append(self.model.text_projection(self.model.text_model(**tokens).pooler_output))
        return torch.nn.functional.normalize(torch.cat(found).float().cpu(), dim=1)


class EfficientNet(Features):
    """Pooled features of ImageNet's EfficientNet-Lite0: DINO's stand-in where there is no hub."""

    def __init__(self, folder: Path, device: str):
        from common.evaluators.vision_networks import EfficientNetLite0

        self.network = EfficientNetLite0().eval().to(device)
        self.network.load_state_dict(state_dict(folder, "efficientnet-lite0-*.pth"))
        self.device = device

    def encode(self, pictures: list):
        return self.network.features((pixels(pictures, 224) * 255 - 127).to(self.device) / 128)


class Lpips:
    """LPIPS with VGG16 (two files: torchvision's backbone, lpips' layers) or shift-tolerant with AlexNet."""

    def __init__(self, kind: str, folder: Path, size: int, device: str):
        from common.evaluators import vision_networks

        if kind == "lpips-vgg":
            backbone, layers = state_dict(folder, "vgg16-*.pth"), state_dict(folder, "vgg.pth")
            network = vision_networks.lpips_vgg(backbone, layers)
        else:
            network = vision_networks.st_lpips(state_dict(folder, "alex_shift_tolerant.pth"))
        self.network, self.size, self.device = network.eval().to(device), size, device

    def embed(self, pictures: list):
        """(N, d): the distance of two pictures is |a − b|². d is large: 33 million for VGG at 512 × 512."""
        import torch

        with torch.inference_mode():
            return torch.cat(
                [self.network((pixels([picture], self.size) * 2 - 1).to(self.device)) for picture in pictures]
            )

    @staticmethod
    def between(first, second):
        """Distances (len(first), len(second)) of embedded pictures."""
        import torch

        return torch.stack([(second - one).square().sum(1) for one in first]).cpu()

    def distances(self, first: list, second: list):
        """Distances (len(first), len(second)) of pictures."""
        return self.between(self.embed(first), self.embed(second))


def cut_out(picture):
    """The square around the object of a PIL image, in its own pixels; the whole image where there is no object."""
    import numpy

    inside = prompt_fidelity.object_mask(numpy.asarray(picture.convert("RGB"), float))
    if not prompt_fidelity.is_object(inside):
        return picture
    rows, columns = numpy.nonzero(inside)
    side = int(max(numpy.ptp(rows), numpy.ptp(columns))) + 1
    left, top = (
        int(numpy.clip((line.min() + line.max() + 1 - side) // 2, 0, length - side))
        for line, length in zip((columns, rows), picture.size, strict=True)
    )
    return picture.crop((left, top, left + side, top + side))


def pixels(pictures: list, side: int):
    """(N, 3, side, side) of 0 to 1; plain resize, as in the official evaluation."""
    import numpy
    import torch
    from PIL import Image

    resized = [picture.convert("RGB").resize((side, side), Image.Resampling.BICUBIC) for picture in pictures]
    return torch.from_numpy(numpy.stack([numpy.asarray(picture) for picture in resized])).permute(0, 3, 1, 2) / 255


def state_dict(folder: Path, pattern: str) -> dict:
    return tensors(one_file(folder, pattern))


def one_file(folder: Path, pattern: str) -> Path:
    """The one file of a pattern; JobError if there is none, or several."""
    found = sorted(folder.rglob(pattern))
    if len(found) != 1:
        raise JobError(f"{folder}: expected one file {pattern}, found {len(found)}. Correct the model's `source`.")
    return found[0]
