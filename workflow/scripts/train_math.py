"""Fine-tune one run of a causal language model on questions and answers, with the transformers Trainer.

Writes RUN/train.json (the record) and RUN/last (the weights after the last step, without selection). The loss is on the
response only, unless `loss_on` is text; a task's class may name another learner (training/learner.py). A run of kind
`pretrained` trains nothing: its record describes the base model.
"""

from pathlib import Path
from pkgutil import resolve_name

from hra_workflow import methods
from hra_workflow.core import manifests
from hra_workflow.core.job import script
from hra_workflow.data import held_out
from hra_workflow.models import adapters, causal_lm, context, prompts
from hra_workflow.training import attempts


@script(trains=True)
def main(job: dict) -> None:
    params, entry = job["params"], methods.entry(job["params"]["method"])
    method, settings, head = params["method"], params["hyperparameters"], params["head"] or []
    with attempts.recorded(job) as attempt:
        model_folder, data_folder = (manifests.folder(job["input"][name]) for name in ("model", "dataset"))
        if not entry.trains:
            attempt.publish_untrained(causal_lm.count_parameters(model_folder))
            return

        from hra_workflow.training import optimizers

        augmented = adapters.initial_folder(job)
        learner, train, held = read_rows(job, model_folder, data_folder)
        steps = optimizers.total_steps(len(train), settings)
        quantization = settings.get("quantization")
        precision = entry.precision or settings["precision" if quantization else "base_precision"]
        model = causal_lm.load_model(model_folder, precision, quantization, attempt.device)
        model.config.use_cache = False
        model = adapters.start_training(model, method, head, augmented, steps)
        sizes = adapters.count(model, head)
        arguments = training_arguments(job, learner, attempt.device)
        trainer = learner.trainer(
            held, model=model, args=arguments, train_dataset=train, method=method, settings=settings
        )
        attempt.train(trainer, steps)
        result = {"score": learner.logged[-1]}
        if held:
            value = trainer.evaluate()["eval_loss"]
            result["held_out"] = {"metric": "loss", "value": value, "rows": len(held), "train_rows": len(train)}
        if not trainer.is_world_process_zero():
            return
        new = attempt.new_outputs()
        adapters.save(model, new / "last", start=augmented)
        result |= {"steps": trainer.state.global_step, "best_step": None}
        attempt.publish(new, sizes, result | {"curve": curve_of(trainer.state.log_history, learner.logged)})


def read_rows(job: dict, model_folder: Path, data_folder: Path) -> tuple:
    """Return the learner of a run, its rows and those held out, or None."""
    import numpy as np

    params, settings = job["params"], job["params"]["hyperparameters"]
    context.check(causal_lm.config_of(model_folder), None, settings["max_length"], params["model_name"])
    prompt = prompts.Prompt(params["prompt"], causal_lm.load_tokenizer(model_folder), model_folder)
    learner = resolve_name(params["learner"])(settings, prompt)
    rows = learner.rows(data_folder, int(job["wildcards"]["seed"]))
    if "held_out" not in settings:
        return learner, rows, None
    kept, chosen = held_out.split(np.arange(len(rows)), None, **settings["held_out"])
    return learner, rows.select(kept), rows.select(chosen)


def training_arguments(job: dict, learner, device: str):
    from hra_workflow.training import hf_trainer

    return hf_trainer.training_arguments(
        job,
        job["params"]["hyperparameters"],
        device,
        logging_steps=1,  # otherwise losses between the last log and a checkpoint are missing after resuming
        gradient_checkpointing=job["params"]["gradient_checkpointing"],
        # Reentrant checkpointing does not propagate gradients if the embeddings are frozen.
        gradient_checkpointing_kwargs={"use_reentrant": False},
        eval_strategy="no",
        **learner.arguments(),
    )


def curve_of(log_history: list[dict], logged: tuple[str, ...]) -> list[dict]:
    """List the steps whose log entry has all values of the curve."""
    return [
        {"step": entry["step"], "epoch": entry["epoch"], "metrics": {name: entry[name] for name in logged}}
        for entry in log_history
        if entry.keys() >= set(logged)
    ]


if __name__ == "__main__":
    main()
