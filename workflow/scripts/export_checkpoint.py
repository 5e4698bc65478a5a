"""A whole model in one file, as the official control scripts read it: the base with the weights of a run or a start."""

from pathlib import Path

from common import augmented_checkpoint, manifests
from common.job import start


def main(job: dict) -> None:
    params, path = job["params"], Path(job["output"]["checkpoint"])
    augmented_checkpoint.write(manifests.folder(job["input"]["model"]), params["method"], Path(params["weights"]), path)
    print(f"{path}: {path.stat().st_size / 1e9:.3g} GB")


if __name__ == "__main__":
    start(main, __file__, globals().get("snakemake"))
