"""Fine-tune one run on a GLUE-format dataset, starting at the initial adapter, with the transformers Trainer.

Writes RUN/train.json (the record), RUN/last and RUN/best (the weights after the last step and at the best score on dev,
which is the first benchmark or a held-out share of the training data), and RUN/scores: the scores of both for every
item of the benchmarks, computed while the job has a GPU.
"""

import math
from functools import partial
from pathlib import Path

import evaluate_glue
from hra_workflow.core import manifests
from hra_workflow.core.job import script
from hra_workflow.data import held_out
from hra_workflow.models import adapters, classifier, context
from hra_workflow.training import attempts


@script(trains=True)
def main(job: dict) -> None:
    from hra_workflow.tasks.glue import metrics
    from hra_workflow.training import hf_trainer, optimizers

    params, settings = job["params"], job["params"]["hyperparameters"]
    score, sign = params["dataset"]["score"], -1 if metrics.find(params["dataset"]["score"]).better == "lower" else 1
    with attempts.recorded(job) as attempt:
        trainer = make_trainer(job, attempt.device, sign)
        train, sizes = trainer.train_dataset, adapters.count(trainer.model, trainer.head)
        attempt.train(trainer, optimizers.total_steps(len(train), settings))
        if trainer.state.global_step not in [one["step"] for one in hf_trainer.curve(trainer.state.log_history, [])]:
            trainer.evaluate()
        if not trainer.is_world_process_zero():
            return
        curve = hf_trainer.curve(trainer.state.log_history, params["evaluation"]["metrics"])
        best = max(curve, key=lambda entry: sign * entry["metrics"][score])
        result = {"steps": trainer.state.global_step, "best_step": best["step"], "score": score, "curve": curve}
        if "held_out" in settings:
            rows = {"rows": len(trainer.eval_dataset), "train_rows": len(train)}
            result["held_out"] = {"metric": score, "value": best["metrics"][score]} | rows

        new = attempt.new_outputs()
        adapters.save(trainer.model, new / "last")
        if "kill_at_step" not in settings:  # `hra-workflow smoke` measures the evaluation separately
            run = {"seed": int(job["wildcards"]["seed"]), "hyperparameters": settings} | result
            weights = {name: new / name / adapters.WEIGHTS for name in ("last", "best")}
            for split in dict.fromkeys(params["evaluation"]["benchmarks"].values()):
                scores = evaluate_glue.compute_scores(job, run, weights, split, attempt.device)
                evaluate_glue.write_scores(new / attempts.SCORES, split, scores)
        attempt.publish(new, sizes, result)


def make_trainer(job: dict, device: str, sign: int):
    """Return the Trainer of a run: its rows, those of dev, and the model with the initial adapter.

    sign: of the score, which is best at the highest value, or at the lowest one (-1).
    """
    import numpy as np
    from transformers import AutoConfig, DataCollatorWithPadding

    from hra_workflow.tasks.glue import metrics
    from hra_workflow.training import hf_trainer, optimizers

    params, seed = job["params"], int(job["wildcards"]["seed"])
    dataset, method, settings = params["dataset"], params["method"], params["hyperparameters"]
    shown = params["evaluation"]["metrics"]
    model_folder, data_folder = (manifests.folder(job["input"][name]) for name in ("model", "dataset"))
    tokenizer = classifier.load_tokenizer(model_folder)
    config = AutoConfig.from_pretrained(model_folder)
    context.check(config, tokenizer, settings["max_length"], params["model_name"])
    tokenized = partial(
        classifier.tokenized, data_folder, columns=dataset["columns"], tokenizer=tokenizer,
        max_length=settings["max_length"],
    )  # fmt: skip
    train = tokenized("train")
    if "held_out" in settings:
        kept, chosen = held_out.split(np.asarray(train["labels"]), dataset["labels"], **settings["held_out"])
        train, dev = train.select(kept), train.select(chosen)
    else:
        dev = tokenized(dataset["split"])
    order = classifier.by_length(dev)
    total_steps = optimizers.total_steps(len(train), settings)
    every = settings["eval_steps"] if settings["eval_steps"] >= 1 else math.ceil(settings["eval_steps"] * total_steps)
    steps = {"eval_strategy": "steps", "eval_steps": every, "logging_steps": max(1, every // 2)}
    arguments = hf_trainer.training_arguments(job, settings, device, **steps)
    model, found = classifier.load_model(model_folder, dataset["labels"], seed, settings.get("classifier_dropout"))
    head = found if params["head"] is None else params["head"]
    model = adapters.start_training(model, method, head, adapters.initial_folder(job), total_steps)

    def judge(prediction) -> dict[str, float]:
        scores, labels = map(np.empty_like, (prediction.predictions, prediction.label_ids))
        scores[order], labels[order] = prediction.predictions, prediction.label_ids
        return metrics.values(shown, labels, metrics.predictions(scores, dataset["labels"]))

    return hf_trainer.ResumableTrainer(
        model=model,
        args=arguments,
        train_dataset=train,
        eval_dataset=dev.select(order),
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=judge,
        callbacks=[hf_trainer.KeepBest(Path(params["scratch"], "best"), dataset["score"], model, sign)],
        method=method,
        settings=settings,
        head=head,
    )


if __name__ == "__main__":
    main()
