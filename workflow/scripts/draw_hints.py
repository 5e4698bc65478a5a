"""Compute the control images of a dataset from its archives, in one file per split, then write the manifest."""

from pathlib import Path

from hra_workflow.core import files, made_from, manifests
from hra_workflow.core.job import script
from hra_workflow.data import sources, zip_archives
from hra_workflow.tasks.control import data as control_data
from hra_workflow.tasks.control.items import BENCHMARK


@script
def main(job: dict) -> None:
    dataset, manifest = job["params"]["dataset"], Path(job["output"]["manifest"])
    source = files.read_json(job["input"]["dataset"])
    place = manifests.folder(job["input"]["dataset"])
    raw = zip_archives.Folder(place)
    folder = manifest.with_name(manifest.name.removesuffix(".manifest.json"))
    manifest.unlink(missing_ok=True)
    control_data.check(place, dataset)
    makers = {split: control_data.Maker(raw, dataset, split) for split in dataset["splits"]}
    for maker in makers.values():
        maker.try_one()
    rows = {}
    with files.replacing_folder(folder) as new:
        for split, maker in makers.items():
            rows[split] = control_data.write(
                new / f"{split}.arrow", maker.rows, maker.make, dataset["resolution"], job["threads"]
            )
            print(f"{split}: {rows[split]} control images")
        found = sources.list_files(new)
    record = {key: source[key] for key in ("name", "source", "revision")}
    record |= {"folder": folder.name, "files": found, "rows": rows, "raw": source["files"]}
    record[made_from.KEY] = made_from.describe(job)
    from_images = not {"annotation", "control"} & dataset["splits"][BENCHMARK].keys()
    record["hint"] = dataset["hint"] if from_images else None  # the function that predict_control.py can compute, too
    hashes = {path: entry["sha256"] for path, entry in found.items()}
    files.write_json(manifest, record | {"sha256": files.sha256_of_listing(hashes)})


if __name__ == "__main__":
    main()
