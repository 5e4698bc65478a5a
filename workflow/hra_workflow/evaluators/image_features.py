"""Subject fidelity and prompt fidelity from features of images and prompts: DINO, CLIP, and EfficientNet for DINO.

torchmetrics' CLIPScore does not replace this: it returns one mean, which is set to 0 if negative, and not the images'
values, of which standard errors and the official best step are computed. It has no DINO. torch-fidelity's CLIP and
DINOv2 take other weights, resize images in another way, and have no texts.

Features (N, d) have unit length, so that products are cosine similarities. Up to rounding, an image's features do not
depend on the rest of its batch.
"""

from collections.abc import Collection, Iterable
from pathlib import Path

from hra_workflow.core import imports
from hra_workflow.data import safe_checkpoints
from hra_workflow.evaluators import batches
from hra_workflow.evaluators.protocol import Evaluator, Needs, Reference, Scores
from hra_workflow.models import pretrained


class Features(Evaluator):
    """Mean cosine similarity between an image and the reference images; subclasses `encode` RGB images to (N, d).

    `crop`: a function, `module:function`, that maps an image to the part that is compared.
    """

    needs = Needs(model=True, images="references", options=("crop",))
    better = "higher"
    batch = 32

    def __init__(self, entry: dict, folder: Path, device: str):
        self.crop = imports.import_named(entry["crop"], "crop") if entry.get("crop") else None
        self.device = device

    def images(self, images: Iterable):
        """Compute the features of images."""
        import torch

        with torch.inference_mode():
            rows = list(batches.results(self.encode_batch, images, self.batch))
        return torch.nn.functional.normalize(torch.stack(rows).float().cpu(), dim=1)

    def encode_batch(self, images: list):
        return self.encode([(self.crop(image) if self.crop else image).convert("RGB") for image in images])

    def score(self, images: Collection, reference: Reference) -> Scores:
        return self.likeness(self.images(images), reference)

    def likeness(self, features, reference: Reference) -> Scores:
        """Compute the mean cosine similarity to the reference images, or of each reference image to the others."""
        if not reference.itself:
            return Scores({self.metrics[0]: (features @ self.images(reference.images).T).mean(1).tolist()})
        if len(features) < 2:
            return Scores()
        return Scores({self.metrics[0]: (((features @ features.T).sum(1) - 1) / (len(features) - 1)).tolist()})


# Use transformers' `pil` backend: with torchvision installed, it would choose the other, whose resizing differs by up
# to one grey level.


class Dino(Features):
    """The CLS token after the last layer's norm (`facebook/dino-vits16`, `facebook/dinov2-base`)."""

    def __init__(self, entry: dict, folder: Path, device: str):
        from transformers import AutoImageProcessor, AutoModel

        super().__init__(entry, folder, device)
        self.processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
        with safe_checkpoints.named(folder):
            self.model = pretrained.load(AutoModel, folder, dtype="float32").eval().to(device)

    def encode(self, images: list):
        pixels = self.processor(images, return_tensors="pt").pixel_values
        return self.model(pixels.to(self.model.device)).last_hidden_state[:, 0]


class Clip(Features):
    """Projected features of image and text (`openai/clip-vit-large-patch14`).

    `_i` is subject fidelity as with DINO; `_t` and `_t_class` are the cosine similarities of the image to the prompt
    with and without the identifier.
    """

    metrics = ("_i", "_t", "_t_class")

    def __init__(self, entry: dict, folder: Path, device: str):
        from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

        super().__init__(entry, folder, device)
        self.processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        with safe_checkpoints.named(folder):
            self.model = pretrained.load(CLIPModel, folder, dtype="float32").eval().to(device)

    def encode(self, images: list):
        pixels = self.processor(images, return_tensors="pt").pixel_values
        seen = self.model.vision_model(pixels.to(self.model.device))
        return self.model.visual_projection(seen.pooler_output)

    def texts(self, texts: list[str]):
        """Compute the features of texts."""
        import torch

        found = []
        with torch.inference_mode():
            for start in range(0, len(texts), self.batch):
                # Padded to the full length as in CLIP's training, so the position of a text's end is fixed.
                part = texts[start : start + self.batch]
                tokens = self.tokenizer(part, padding="max_length", truncation=True, return_tensors="pt")
                tokens = tokens.to(self.model.device)
                found.append(self.model.text_projection(self.model.text_model(**tokens).pooler_output))
        return torch.nn.functional.normalize(torch.cat(found).float().cpu(), dim=1)

    def score(self, images: Collection, reference: Reference) -> Scores:
        features = self.images(images)
        found = self.likeness(features, reference).images
        prompts = {"_t": reference.prompts, "_t_class": reference.class_prompts}
        for ending, texts in prompts.items() if reference.prompts else ():
            asked = self.texts(list(texts))[list(reference.prompt_index)]
            found[ending] = (features * asked).sum(1).tolist()
        return Scores(found)


class EfficientNet(Features):
    """Pooled features of an ImageNet EfficientNet-Lite0, used instead of DINO without the Hugging Face Hub."""

    def __init__(self, entry: dict, folder: Path, device: str):
        import timm

        super().__init__(entry, folder, device)
        self.network = timm.create_model("tf_efficientnet_lite0").eval().to(device)
        # The same tensors in the same order, under other names.
        weights = safe_checkpoints.tensors_of(folder, "efficientnet-lite0-*.pth").values()
        self.network.load_state_dict(dict(zip(self.network.state_dict(), weights, strict=True)))

    def encode(self, images: list):
        from hra_workflow.evaluators.vision_networks import resized_tensor

        found = self.network.forward_features((resized_tensor(images, 224) * 255 - 127).to(self.device) / 128)
        return self.network.forward_head(found, pre_logits=True)
