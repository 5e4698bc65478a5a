"""Write a run's adapter as a folder for the Hugging Face Hub: the adapter, an equivalent LoRA, and a card.

The adapter is the run's, except that adapter_config.json names the base model on the Hub instead of a folder of this
machine. lora/ has an adapter of HRA as a LoRA with the same outputs (hra.to_lora), for a text-to-image model also in
the layout of diffusers.
"""

import inspect
import os
import shutil
from pathlib import Path
from pkgutil import resolve_name

from hra_workflow import tasks
from hra_workflow.core import files, finished_run, manifests
from hra_workflow.core.job import script
from hra_workflow.models import adapters, diffusion, precision
from hra_workflow.models.diffusion import exports
from hra_workflow.report import model_card, selections


@script
def main(job: dict) -> None:
    params = job["params"]
    about = params["adapter"], params["model"], job["wildcards"], params["expected"]
    record = finished_run.read_requested(params["record"], *about)
    metrics, card = finished_run.read_metrics(params["metrics"]), Path(job["output"]["card"])
    model, data = (files.read_json(params[name]) for name in ("model", "dataset"))
    base, folder, task = model_card.on_hub(model), manifests.folder(params["model"]), tasks.classes()[record["task"]]
    with files.replacing_folder(card.parent) as new:
        shutil.copytree(Path(params["adapter"]).parent, new, dirs_exist_ok=True)
        config = files.read_json(new / "adapter_config.json")
        config |= {"base_model_name_or_path": base.repo if base else None, "revision": base.revision if base else None}
        files.write_json(new / "adapter_config.json", config)
        shutil.copyfile(params["record"], new / "train.json")
        component, lora = of_pipeline(folder), new / "lora"
        if params["to_lora"]:
            adapters.install()
            resolve_name(params["to_lora"])(str(new), str(lora), str(folder))
        elif component:
            exports.write_lora(new, lora, folder)
        about = {
            "label": params["label"],
            "pipeline_tag": task.pipeline_tag,
            "snippet": Path(inspect.getfile(task)).with_name("snippet.jinja").read_text(),
            "settings": params["settings"],
            "dtype": precision.NAMES[record["hyperparameters"]["precision"]],
            "has_lora": lora.exists(),
            "component": component,
            "base": os.path.relpath(folder),
            "exported": os.path.relpath(card.parent),
            "splits": selections.splits(params["benchmarks"]),
            "reported": {one["benchmark"]: files.read_json(one["reported"]) for one in params["benchmarks"]},
            "trained_on": [one["benchmark"] for one in selections.on_training_split(params["benchmarks"])],
            "tuned": "chosen" in params["expected"],
        }
        text = model_card.write(record, metrics, model, data, job["wildcards"]["weights"], config, about)
        files.write_text(new / card.name, text)
    print(f"wrote {card.parent}")


def of_pipeline(folder: Path) -> str | None:
    """Return the fine-tuned component of a text-to-image pipeline; None for other models."""
    known = (folder / diffusion.INDEX).exists()
    return diffusion.ARCHITECTURES[diffusion.architecture_name(folder)].component if known else None


if __name__ == "__main__":
    main()
