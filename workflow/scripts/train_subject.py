"""Fine-tune one run on a subject with DreamBooth.

It trains on subject images with a rare identifier, and on class images for prior preservation.

It writes RUN/train.json (the record), RUN/last, and RUN/steps/{step}: the weights at the end of every epoch before the
last, so that each can generate images. Kinds pretrained and reference (the real images) train nothing.
"""

from pathlib import Path

from PIL.Image import Image

from hra_workflow import methods
from hra_workflow.core import made_from, manifests
from hra_workflow.core.job import script
from hra_workflow.data import images
from hra_workflow.models import adapters, diffusion
from hra_workflow.tasks.subject import task as subjects
from hra_workflow.training import attempts


@script(trains=True)
def main(job: dict) -> None:
    params, entry = job["params"], methods.entry(job["params"]["method"])
    with attempts.recorded(job) as attempt:
        model_folder, data_folder = (manifests.folder(job["input"][name]) for name in ("model", "dataset"))
        if not entry.trains:
            attempt.publish_untrained(diffusion.count_parameters(model_folder))
            return
        augmented = adapters.initial_folder(job)
        trainer = make_trainer(job, model_folder, data_folder, augmented, attempt.device)
        sizes = adapters.count(trainer.unwrapped, [])
        attempt.train(trainer, params["hyperparameters"]["max_steps"])
        if not trainer.is_world_process_zero():
            return
        new = attempt.new_outputs()
        adapters.save(trainer.unwrapped, new / "last", start=augmented)
        result = {"score": "loss", "prompts": params["prompts"], "steps": trainer.state.global_step}
        attempt.publish(new, sizes, result | {"best_step": None, "curve": trainer.curve()})


def make_trainer(job: dict, model_folder: Path, data_folder: Path, augmented: Path, device: str):
    """Return the Trainer of a run: its images, and the network with the initial adapter."""
    from hra_workflow.tasks.subject import dreambooth

    params, method, settings = job["params"], job["params"]["method"], job["params"]["hyperparameters"]
    architecture = diffusion.architecture_in(model_folder, params["prompts"].get("text_layers"))
    architecture.check_resolution(params["resolution"])
    instance, paths = params["prompts"]["instance"], images.listed(data_folder)
    texts = instance if isinstance(instance, list) else [instance] * len(paths)
    used = [(path, text) for path, text in zip(paths, texts, strict=True) if text is not None]
    prompts = list(dict.fromkeys(text for _, text in used))
    precision = settings.get("base_precision", settings["precision"])
    conditions = architecture.embeddings([*prompts, params["prompts"]["class"]], precision, device)
    network = architecture.load(methods.entry(method).precision or precision).requires_grad_(False)
    model = adapters.start_training(network, method, [], augmented, settings["max_steps"])
    if params["gradient_checkpointing"]:
        network.enable_gradient_checkpointing()
    samples = dreambooth.Samples(
        [images.load(path) for path, _ in used],
        class_images(job) if settings["prior_weight"] else [],
        params["resolution"],
        int(job["wildcards"]["seed"]),
        centred=settings.get("crop") == "center",
        prompts=[prompts.index(text) for _, text in used],
    )
    trainer = dreambooth.Trainer(job, model, architecture, samples, conditions)
    trainer.snapshot_steps = subjects.snapshot_steps(settings)[:-1]
    return trainer


def class_images(job: dict) -> list[Image]:
    """Read the class images; raise JobError if their settings differ from the config."""
    path = job["input"]["class_images"]
    made_from.check_input(job, "class_images", images.made_from(path))
    return [one.image for one in images.unpack(path)]


if __name__ == "__main__":
    main()
