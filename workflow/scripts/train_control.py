"""Fine-tune one run to a control signal: adapters of the UNet with the light hint encoder, or a whole ControlNet.

Writes RUN/train.json (the record) and RUN/last: the adapter, with the hint encoder in the same file. The state of the
training lies in the scratch folder; a job that was killed goes on from there and ends with the same numbers. Kinds
pretrained (the base alone, which pays no heed to hints) and reference (the photographs) train nothing.
"""

import time
from pathlib import Path

from common.core import manifests, provenance
from common.core.job import start
from common.methods import METHODS
from common.models import stable_diffusion
from common.training import run_record


def main(job: dict) -> None:
    started = time.monotonic()
    params, seed = job["params"], int(job["wildcards"]["seed"])
    method, scratch = params["method"], Path(params["scratch"])
    device = provenance.pick_device(job["resources"].get("gpu", 0), params.get("device"))
    model_folder = manifests.folder(job["input"]["model"])
    if not METHODS[method["kind"]].trains:
        run_record.untrained(job, started, device, stable_diffusion.count_parameters(model_folder))
        return

    from transformers import set_seed

    from common.tasks.control import data as control_data
    from common.tasks.control import model as control_model
    from common.tasks.control import training as control_training
    from common.training import hf_trainer

    rows = control_data.opened(job["input"]["dataset"], "train")
    settings = control_training.schedule(params["hyperparameters"], len(rows))
    augmented = manifests.folder(job["input"]["augmented"])
    set_seed(seed)  # what is no part of the augmented checkpoint: a ControlNet's hint encoder
    model = control_training.start(model_folder, method, settings, augmented)
    samples = control_training.Samples(
        rows, params["resolution"], seed, settings["prompt_dropout"], settings["shuffle"]
    )
    survive = hf_trainer.Survive(job["resources"]["save_seconds"], run_record.time_limit(job))
    sizes = control_model.count(model, method)
    marks = [settings["max_steps"]]
    trainer = control_training.Trainer(job, model, model_folder, samples, marks, survive, device, settings)
    attempts = run_record.run_to_end(job, trainer, survive, started, settings["max_steps"])
    if not trainer.is_world_process_zero():
        return
    trainer.save(scratch / "last", start=augmented)
    curve = trainer.curve()
    result = {"steps": trainer.state.global_step, "best_step": None, "score": "loss", "curve": curve}
    run_record.finish(job, attempts, started, device, sizes, **result)
    print(f"loss: first {curve[0]['metrics']['loss']:.4f}, last {curve[-1]['metrics']['loss']:.4f}")


if __name__ == "__main__":
    start(main, __file__, globals().get("snakemake"))
