"""Insert a method's adapters into a task's base model and save the initial adapter: a folder with a manifest.

All training runs of the task start from this folder, independent of the dataset, so that a seed means one
initialisation (the official `tool_add_hra`). Methods without adapters (full, bitfit, head) only get a manifest.
"""

from pathlib import Path

from hra_workflow import methods
from hra_workflow.core import files, grid, imports, made_from, manifests
from hra_workflow.core.errors import JobError, expect
from hra_workflow.core.job import script
from hra_workflow.data import safe_checkpoints
from hra_workflow.methods import peft_types


@script(loads_model=True)
def main(job: dict) -> None:
    params, manifest = job["params"], Path(job["output"]["manifest"])
    method, source = params["method"], files.read_json(job["input"]["model"])
    content = {
        "model": {"name": source["name"], "revision": source["revision"], "sha256": source["sha256"]},
        "kind": method["kind"],
        "seed": int(params["seed"]),
        "modules": [],
        "files": {},
        made_from.KEY: made_from.describe(job),
    }
    # Without an adapter, do not load a model: the imports take seconds, and there is nothing to insert.
    if adapter := methods.entry(method).adapter.config:
        place = "config: methods.{method}.variants.{variant}".format_map(job["wildcards"])
        peft_types.check_arguments(f"{place}.peft", adapter, method["peft"])
        fault = methods.entry(method).variants.fault(method)
        expect(fault is None, f"{place}: {fault}")
        content |= insert(job["input"]["model"], list(source["files"]), params, manifest.parent)
    files.write_json(manifest, content)
    print(f"{len(content['modules'])} modules adapted, {content.get('adapter_parameters', 0):,} parameters")


def insert(model_manifest: str, model_files: list[str], params: dict, folder: Path) -> dict:
    """Write the adapter to `folder`; return its modules, its files and the numbers of parameters.

    If the adapter depends only on the model's shapes, the model's weights are neither verified nor read.
    """
    from transformers import set_seed

    from hra_workflow.models import adapters, causal_lm, classifier, diffusion, pretrained

    method, seed, beside, uncounted = params["method"], int(params["seed"]), None, params["head"] or []
    # A classifier always needs its weights: modules that its checkpoint lacks use random numbers before the adapter.
    own = ":" in params["architecture"]  # a function of the folder, which returns the model
    weights = own or params["architecture"] == "classifier" or methods.entry(method).reads_weights(method["peft"])
    configs = [name for name in model_files if not name.endswith((".safetensors", ".bin"))]
    model_folder = manifests.folder(model_manifest, None if weights else configs)
    if own:
        set_seed(seed)
        model = imports.import_named(params["architecture"], "architecture")(model_folder)
    elif params["architecture"] == "causal_lm":
        set_seed(seed)
        model = causal_lm.load_model(model_folder, params["precision"], weights=weights)
    elif params["architecture"] == "unet":
        set_seed(seed)
        model = diffusion.architecture_in(model_folder).load(weights=weights)
    elif params["architecture"] == "controlled":
        from hra_workflow.tasks.control import model as control_model

        set_seed(seed)
        model = control_model.load(model_folder, method, weights=weights)
        # The hint encoder is the head of an adapter of the UNet; it is initialised together with the adapter.
        beside = control_model.head(method)
    else:
        # The adapter does not depend on the number of classes; the head is initialised again at fine-tuning.
        model, found = classifier.load_model(model_folder, ["0", "1"], seed)
        uncounted = found if params["head"] is None else params["head"]
    adapted = adapters.insert(model, method, beside, outside=uncounted)
    adapters.save(adapted, folder)
    if not weights and pretrained.has_nan(safe_checkpoints.load(folder / adapters.WEIGHTS)):
        raise JobError(
            f"{grid.kind_of(method)} {method['peft']}: expected an initial adapter that does not depend on the base "
            "model's weights, found one that does. Make `starts_from_weights` of its entry in methods/ return true."
        )
    return {
        "modules": sorted(adapted.base_model.targeted_module_names),
        "files": {
            name: {"bytes": (folder / name).stat().st_size, "sha256": files.sha256(folder / name)}
            for name in ("adapter_config.json", adapters.WEIGHTS)
        },
    } | (control_model.count(adapted, method) if beside else adapters.count(adapted, uncounted))


if __name__ == "__main__":
    main()
