"""Score generated images with DINO's network in batches, for `python -m benchmarks.workflow evaluate`.

    python -m benchmarks.scoring IMAGES BATCH

Writes wall and CPU seconds to the file `seconds` in the working directory.
"""

import sys
import time
from pathlib import Path

import numpy
import torch
import transformers
from PIL import Image

from hra_workflow.data import images
from hra_workflow.evaluators.image_features import Dino


def main(count: int, batch: int) -> None:
    config = transformers.ViTConfig(hidden_size=384, num_attention_heads=6, intermediate_size=1536)
    transformers.ViTModel(config).save_pretrained("model")
    transformers.ViTImageProcessor().save_pretrained("model")
    pixels = numpy.random.default_rng(0).integers(0, 256, (16, 16, 3), numpy.uint8)
    png = images.to_png(Image.fromarray(pixels).resize((512, 512)), 1)
    keys = [f"image{index:03d}" for index in range(count)]
    images.pack("images.tar", [images.Picture(key, png, {}) for key in keys])
    scorer = Dino({}, "model", "cuda" if torch.cuda.is_available() else "cpu")
    scorer.batch = batch
    wall, cpu = time.perf_counter(), time.process_time()
    scorer.images(images.Archive("images.tar", keys))
    Path("seconds").write_text(f"{time.perf_counter() - wall} {time.process_time() - cpu}")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
