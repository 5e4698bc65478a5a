"""Fine-tune one run on a control signal: adapters of the UNet with the lightweight hint encoder, or a ControlNet.

Writes RUN/train.json (the record) and RUN/last: the adapter, with the hint encoder in the same file. Kinds pretrained
(the base model, which ignores the control image) and reference (the real images) train nothing.
"""

import time
from functools import partial

from hra_workflow import methods
from hra_workflow.core import files, made_from, manifests, provenance
from hra_workflow.core.job import start
from hra_workflow.models import diffusion
from hra_workflow.training import run_record, trials


@trials.recorded
def main(job: dict) -> None:
    started = time.monotonic()
    params, seed = job["params"], int(job["wildcards"]["seed"])
    method = params["method"]
    device = provenance.pick_device(job)
    model_folder = manifests.folder(job["input"]["model"])
    made_from.check_input(job, "dataset", files.read_json(job["input"]["dataset"]).get(made_from.KEY, {}))
    if not methods.entry(method).trains:
        run_record.untrained(job, started, device, diffusion.count_parameters(model_folder))
        return

    from transformers import set_seed

    from hra_workflow.tasks.control import data as control_data
    from hra_workflow.tasks.control import latents
    from hra_workflow.tasks.control import model as control_model
    from hra_workflow.tasks.control import training as control_training

    rows = control_data.open_split(job["input"]["dataset"], "train")
    if job["input"]["latents"]:
        rows = latents.open_latents(job["input"]["latents"], job["input"]["model"], job["input"]["dataset"], rows)
    settings = control_training.schedule(params["hyperparameters"], len(rows))
    augmented = run_record.initial_adapter(job)
    set_seed(seed)  # for parts that the initial adapter lacks: a ControlNet's hint encoder
    memory = {"gradient_checkpointing": params["gradient_checkpointing"]}
    model = control_training.start(model_folder, method, settings | memory, augmented)
    samples = control_training.Samples(
        rows, params["resolution"], seed, settings["prompt_dropout"], settings["shuffle"]
    )
    sizes = control_model.count(model, method)
    steps = [settings["max_steps"]]
    trainer = control_training.Trainer(job, model, model_folder, samples, steps, device, settings)
    attempts = run_record.run_to_end(job, trainer, started, settings["max_steps"])
    if not trainer.is_world_process_zero():
        return
    save = partial(trainer.save, start=augmented)
    run_record.finish_last(job, trainer, attempts, started, device, sizes, trainer.curve(), save)


if __name__ == "__main__":
    start(main, __file__, globals().get("snakemake"), trains=True)
