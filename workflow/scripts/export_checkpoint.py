"""Write a single-file checkpoint for the official control scripts: the base model with a run's or initial adapter."""

from pathlib import Path

from hra_workflow.core import manifests
from hra_workflow.core.job import start
from hra_workflow.tasks.control import official_checkpoint


def main(job: dict) -> None:
    params, path = job["params"], Path(job["output"]["checkpoint"])
    official_checkpoint.write(manifests.folder(job["input"]["model"]), params["method"], Path(params["weights"]), path)
    print(f"{path}: {path.stat().st_size / 1e9:.3g} GB")


if __name__ == "__main__":
    start(main, __file__, globals().get("snakemake"))
