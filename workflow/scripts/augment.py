"""Insert a method's adapters into a task's pretrained model and save the start: an adapter folder with a manifest.

Every fine-tuning of the task starts from this folder, whatever its dataset, so that a seed means one start (the
official `tool_add_hra`). Methods without adapters (full, bitfit, head, pretrained) get a manifest alone.
"""

from pathlib import Path

from common.core import files, manifests
from common.core.job import start
from common.models import adapters, causal_lm, stable_diffusion


def main(job: dict) -> None:
    from transformers import set_seed

    params = job["params"]
    method, seed = params["method"], int(params["seed"])
    manifest = Path(job["output"]["manifest"])
    source = files.read_json(job["input"]["model"])
    folder = manifests.folder(job["input"]["model"])
    if params["architecture"] == "causal_lm":
        set_seed(seed)
        model = causal_lm.load_model(folder, params["precision"])
    elif params["architecture"] == "unet":
        set_seed(seed)
        model = stable_diffusion.load_unet(folder)
    elif params["architecture"] == "controlled":
        from common.tasks.control import model as control_model

        set_seed(seed)
        model = control_model.load(folder, method)
    else:
        # The adapter does not depend on the number of classes; the head is drawn again at fine-tuning.
        model = adapters.load_classifier(folder, ["0", "1"], seed)
    # The hint encoder is to an adapter of the UNet what the head is to a classifier's; here it starts with the adapter.
    beside = control_model.head(method) if params["architecture"] == "controlled" else None
    adapted = adapters.insert(model, method, beside)
    content = {
        "model": {"name": source["name"], "revision": source["revision"], "sha256": source["sha256"]},
        "kind": method["kind"],
        "seed": seed,
        "modules": [],
        "files": {},
    }
    if adapted is None:
        adapters.select_trainable(model, method, beside or params["head"])
    else:
        adapters.save(adapted, manifest.parent)
        content["modules"] = sorted(adapted.base_model.targeted_module_names)
        content["files"] = {
            name: {"bytes": (manifest.parent / name).stat().st_size, "sha256": files.sha256(manifest.parent / name)}
            for name in ("adapter_config.json", adapters.WEIGHTS)
        }
    started = adapted if adapted is not None else model
    content |= control_model.count(started, method) if beside else adapters.count(started, params["head"])
    files.write_json(manifest, content)
    print(f"{len(content['modules'])} modules adapted, {content['adapter_parameters']:,} parameters")


if __name__ == "__main__":
    start(main, __file__, globals().get("snakemake"))
