"""Fine-tune one run of a causal language model on questions and answers, with the transformers Trainer.

Writes RUN/train.json (the record) and RUN/last (the weights after the last step, without selection). The loss is on the
response only, unless `loss_on` is text; a task's class may name another learner (training/learner.py). A run of kind
`pretrained` trains nothing: its record describes the base model.
"""

import time
from functools import partial
from pathlib import Path
from pkgutil import resolve_name

from hra_workflow import methods
from hra_workflow.core import manifests, provenance
from hra_workflow.core.errors import JobError
from hra_workflow.core.job import start
from hra_workflow.data import held_out
from hra_workflow.models import adapters, causal_lm, context, prompts
from hra_workflow.training import run_record, trials


@trials.recorded
def main(job: dict) -> None:
    started = time.monotonic()
    params, wildcards = job["params"], job["wildcards"]
    method, settings = params["method"], params["hyperparameters"]
    seed, scratch = int(wildcards["seed"]), Path(params["scratch"])
    device = provenance.pick_device(job)

    model_folder, data_folder = (manifests.folder(job["input"][name]) for name in ("model", "dataset"))
    if not methods.entry(method).trains:
        run_record.untrained(job, started, device, causal_lm.count_parameters(model_folder))
        return

    import numpy as np
    import torch

    from hra_workflow.training import activation_memory

    augmented = run_record.initial_adapter(job)
    tokens = methods.virtual_tokens(method)
    context.check(causal_lm.config_of(model_folder), None, tokens, settings["max_length"], params["model_name"])
    tokenizer = causal_lm.load_tokenizer(model_folder)
    prompt = prompts.Prompt(params["prompt"], tokenizer, model_folder)
    learner = resolve_name(params["learner"])(settings, prompt)
    train, held = learner.rows(data_folder, seed), None
    if "held_out" in settings:
        kept, chosen = held_out.split(np.arange(len(train)), None, **settings["held_out"])
        train, held = train.select(kept), train.select(chosen)
    quantization = settings.get("quantization")
    precision = methods.entry(method).precision or settings["precision" if quantization else "base_precision"]
    model = causal_lm.load_model(model_folder, precision, quantization, device)
    model.config.use_cache = False
    total_steps = run_record.total_steps(len(train), settings)
    model = adapters.start_training(model, method, params["head"] or [], augmented, total_steps)
    sizes = adapters.count(model, params["head"] or [])

    def arguments(recompute: bool):
        return run_record.training_arguments(
            job,
            settings,
            seed,
            scratch,
            device,
            logging_steps=1,  # otherwise losses between the last log and a checkpoint are missing after resuming
            gradient_checkpointing=recompute,
            # Reentrant checkpointing does not propagate gradients if the embeddings are frozen.
            gradient_checkpointing_kwargs={"use_reentrant": False},
            eval_strategy="no",
            **learner.arguments(),
        )

    plain, recompute = arguments(False), bool(params["gradient_checkpointing"])
    automatic = params["gradient_checkpointing"] == "auto"
    if automatic and not methods.entry(method).recomputes:
        automatic = recompute = False
    if automatic:
        model = model if quantization else model.to(plain.device)
        rows = plain.per_device_train_batch_size
        recompute = activation_memory.must_recompute(
            model, rows, settings["max_length"], settings["precision"], scratch
        )
    trainer = learner.trainer(
        held,
        model=model,
        args=arguments(True) if recompute else plain,
        train_dataset=train,
        method=method,
        settings=settings,
        callbacks=trials.callbacks(job),
    )
    try:
        attempts = run_record.run_to_end(job, trainer, started, total_steps)
    except torch.cuda.OutOfMemoryError:
        if not automatic or recompute:
            raise
        activation_memory.choose(scratch, True)
        raise JobError("out of memory without gradient checkpointing; the next attempt uses it") from None
    found = {}
    if held:
        found["held_out"] = trials.score("loss", trainer.evaluate()["eval_loss"], train, held)
    if not trainer.is_world_process_zero():
        return
    found["score"] = learner.logged[-1]
    curve = [
        {"step": entry["step"], "epoch": entry["epoch"], "metrics": {name: entry[name] for name in learner.logged}}
        for entry in trainer.state.log_history
        if entry.keys() >= set(learner.logged)
    ]
    found["hyperparameters"] = settings | {"gradient_checkpointing": recompute}
    save = partial(adapters.save, model, start=augmented)
    run_record.finish_last(job, trainer, attempts, started, device, sizes, curve, save, **found)


if __name__ == "__main__":
    start(main, __file__, globals().get("snakemake"), trains=True)
