"""Write a run's adapter as a folder for the Hugging Face Hub: the adapter, an equivalent LoRA, and a model card.

The adapter is the run's own, except that adapter_config.json names the base model on the Hub instead of a folder of
this machine. An adapter of HRA is also written to lora/ as a LoRA adapter with the same outputs (hra.to_lora).
"""

import shutil
from pathlib import Path
from pkgutil import resolve_name

from hra_workflow.core import files, manifests, records
from hra_workflow.core.errors import expect
from hra_workflow.core.job import start
from hra_workflow.models import adapters
from hra_workflow.report import model_card


def main(job: dict) -> None:
    params = job["params"]
    for path in (params["record"], params["adapter"], *params["metrics"]):
        expect(Path(path).exists(), f"expected a finished run, found no {path}. Make it first (make run).")
    record, card = records.read(params["record"]), Path(job["output"]["card"])
    expect(record["status"] == "ok", f"{params['record']}: expected a finished run, found one that has diverged.")
    manifests.check_trained_on(record, params["model"])
    manifests.check_weights(record, params["record"], params["adapter"])
    model, data = (files.read_json(params[name]) for name in ("model", "dataset"))
    base = model_card.on_hub(model)
    with files.replacing_folder(card.parent) as new:
        shutil.copytree(Path(params["adapter"]).parent, new, dirs_exist_ok=True)
        config = files.read_json(new / "adapter_config.json")
        config |= {"base_model_name_or_path": base.repo if base else None, "revision": base.revision if base else None}
        files.write_json(new / "adapter_config.json", config)
        shutil.copyfile(params["record"], new / "train.json")
        if params["to_lora"]:
            adapters.install()
            resolve_name(params["to_lora"])(str(new), str(new / "lora"), str(manifests.folder(params["model"])))
        metrics = [records.read(path) for path in params["metrics"]]
        text = model_card.write(record, metrics, model, data, job["wildcards"]["weights"], config, params)
        (new / card.name).write_text(text)
    print(f"wrote {card.parent}")


if __name__ == "__main__":
    start(main, __file__, globals().get("snakemake"))
