"""Fine-tune one run on a control signal: adapters of the UNet with the lightweight hint encoder, or a ControlNet.

Writes RUN/train.json (the record) and RUN/last: the adapter, with the hint encoder in the same file. Kinds pretrained
(the base model, which ignores the control image) and reference (the real images) train nothing.
"""

from pathlib import Path

from hra_workflow import methods
from hra_workflow.core import files, made_from, manifests
from hra_workflow.core.job import script
from hra_workflow.models import adapters, diffusion
from hra_workflow.training import attempts


@script(trains=True)
def main(job: dict) -> None:
    method = job["params"]["method"]
    with attempts.recorded(job) as attempt:
        model_folder = manifests.folder(job["input"]["model"])
        made_from.check_input(job, "dataset", files.read_json(job["input"]["dataset"]).get(made_from.KEY, {}))
        if not methods.entry(method).trains:
            attempt.publish_untrained(diffusion.count_parameters(model_folder))
            return

        from hra_workflow.tasks.control import model as control_model

        augmented = adapters.initial_folder(job)
        trainer = make_trainer(job, model_folder, augmented)
        sizes = control_model.count(trainer.unwrapped, method)
        attempt.train(trainer, trainer.state.max_steps)
        if not trainer.is_world_process_zero():
            return
        new = attempt.new_outputs()
        adapters.save(trainer.unwrapped, new / "last", start=augmented)
        result = {"score": "loss", "steps": trainer.state.global_step, "best_step": None, "curve": trainer.curve()}
        attempt.publish(new, sizes, result)


def make_trainer(job: dict, model_folder: Path, augmented: Path):
    """Return the Trainer of a run: its rows, and the network with the hint encoder and the initial adapter."""
    from transformers import set_seed

    from hra_workflow.tasks.control import data, training

    params, seed = job["params"], int(job["wildcards"]["seed"])
    rows = data.open_split(job["input"]["dataset"], "train")
    settings = training.schedule(params["hyperparameters"], len(rows))
    set_seed(seed)  # for parts that the initial adapter lacks: a ControlNet's hint encoder
    memory = {"gradient_checkpointing": params["gradient_checkpointing"]}
    model = training.start(model_folder, params["method"], settings | memory, augmented)
    samples = training.Samples(rows, seed, settings["prompt_dropout"], settings["shuffle"])
    return training.Trainer(job, model, model_folder, samples, settings)


if __name__ == "__main__":
    main()
