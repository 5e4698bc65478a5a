"""Encode the training images of a dataset with the model's VAE to one file, then write the manifest."""

from pathlib import Path

from diffusers import AutoencoderKL

from hra_workflow.core import files, manifests, provenance, rates
from hra_workflow.core.job import script
from hra_workflow.data import sources
from hra_workflow.models.diffusion import components
from hra_workflow.tasks.control import data as control_data
from hra_workflow.tasks.control import latents


@script
def main(job: dict) -> None:
    manifest, model, images = Path(job["output"]["manifest"]), job["input"]["model"], job["input"]["dataset"]
    device = provenance.pick_device(job)
    split = control_data.open_split(images, "train")
    vae = components.load(AutoencoderKL, manifests.folder(model), "vae").to(device)
    folder = manifest.with_name(manifest.name.removesuffix(".manifest.json"))
    manifest.unlink(missing_ok=True)
    started = rates.clock()
    with files.replacing_folder(folder) as new:
        latents.write(new / latents.FILE, split, vae, device, job["threads"])
        rates.report(len(split), rates.clock() - started, device)
        found = sources.list_files(new)
    hashes = {name: entry["sha256"] for name, entry in found.items()}
    record = {"folder": folder.name, "files": found, "rows": {"train": len(split)}, "of": latents.origin(model, images)}
    files.write_json(manifest, record | {"sha256": files.sha256_of_listing(hashes)})


if __name__ == "__main__":
    main()
