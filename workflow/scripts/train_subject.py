"""Fine-tune one run on a subject with DreamBooth.

It trains on subject images with a rare identifier, and on class images for prior preservation.

It writes RUN/train.json (the record), RUN/last, and RUN/steps/{step}: the weights at the end of every epoch before the
last, so that each can generate images. Kinds pretrained and reference (the real images) train nothing.
"""

import time
from functools import partial

from hra_workflow import methods
from hra_workflow.core import made_from, manifests, provenance
from hra_workflow.core.job import start
from hra_workflow.data import images
from hra_workflow.models import adapters, diffusion
from hra_workflow.tasks.subject import task as subjects
from hra_workflow.training import run_record, trials


@trials.recorded
def main(job: dict) -> None:
    started = time.monotonic()
    params = job["params"]
    method, settings = params["method"], params["hyperparameters"]
    seed = int(job["wildcards"]["seed"])
    device = provenance.pick_device(job)
    model_folder, data_folder = (manifests.folder(job["input"][name]) for name in ("model", "dataset"))
    entry = methods.entry(method)
    if not entry.trains:
        run_record.untrained(job, started, device, diffusion.count_parameters(model_folder))
        return

    from hra_workflow.tasks.subject import dreambooth

    architecture = diffusion.architecture_in(model_folder, params["prompts"].get("text_layers"))
    architecture.check_resolution(params["resolution"])
    instance, paths = params["prompts"]["instance"], images.listed(data_folder)
    texts = instance if isinstance(instance, list) else [instance] * len(paths)
    used = [(path, text) for path, text in zip(paths, texts, strict=True) if text is not None]
    prompts = list(dict.fromkeys(text for _, text in used))
    precision = settings.get("base_precision", settings["precision"])
    conditions = architecture.embeddings([*prompts, params["prompts"]["class"]], precision, device)
    network = architecture.load(entry.precision or precision).requires_grad_(False)
    augmented = run_record.initial_adapter(job)
    model = adapters.start_training(network, method, [], augmented, settings["max_steps"])
    if params["gradient_checkpointing"]:
        network.enable_gradient_checkpointing()
    of_class = class_images(job) if settings["prior_weight"] else []
    samples = dreambooth.Samples(
        [images.load(path) for path, _ in used],
        of_class,
        params["resolution"],
        seed,
        centred=settings.get("crop") == "center",
        prompts=[prompts.index(text) for _, text in used],
    )
    sizes = adapters.count(model, [])
    steps = subjects.snapshot_steps(settings)
    trainer = dreambooth.Trainer(job, model, architecture, samples, conditions, steps, device)
    attempts = run_record.run_to_end(job, trainer, started, settings["max_steps"])
    if not trainer.is_world_process_zero():
        return
    save = partial(adapters.save, model, start=augmented)
    result = {"prompts": params["prompts"]}
    run_record.finish_last(job, trainer, attempts, started, device, sizes, trainer.curve(), save, **result)


def class_images(job: dict) -> list[images.Picture]:
    """Read the class images; raise JobError if their settings differ from the config."""
    path = job["input"]["class_images"]
    made_from.check_input(job, "class_images", images.made_from(path))
    return list(images.unpack(path))


if __name__ == "__main__":
    start(main, __file__, globals().get("snakemake"), trains=True)
