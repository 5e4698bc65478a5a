"""Fine-tune one run on a GLUE-format dataset, starting at the initial adapter, with the transformers Trainer.

Writes RUN/train.json (the record), RUN/last and RUN/best (the weights after the last step and at the best score on dev,
which is the first benchmark or a held-out share of the training data), and RUN/scores: the scores of both for every
item of the benchmarks, computed while the job has a GPU.
"""

import math
import time
from functools import partial
from pathlib import Path

import evaluate_glue
from hra_workflow import methods
from hra_workflow.core import manifests, provenance
from hra_workflow.core.job import start
from hra_workflow.data import held_out
from hra_workflow.models import adapters, classifier, context
from hra_workflow.training import run_record, trials


@trials.recorded
def main(job: dict) -> None:
    import numpy as np
    from transformers import AutoConfig, DataCollatorWithPadding

    from hra_workflow.tasks.glue import metrics
    from hra_workflow.training import hf_trainer

    started = time.monotonic()
    params, wildcards = job["params"], job["wildcards"]
    dataset, method, settings = params["dataset"], params["method"], params["hyperparameters"]
    shown, sign = params["evaluation"]["metrics"], -1 if metrics.find(dataset["score"]).better == "lower" else 1
    seed, scratch = int(wildcards["seed"]), Path(params["scratch"])
    device = provenance.pick_device(job)

    model_folder, data_folder = (manifests.folder(job["input"][name]) for name in ("model", "dataset"))
    tokenizer, tokens = classifier.load_tokenizer(model_folder), methods.virtual_tokens(method)
    config = AutoConfig.from_pretrained(model_folder)
    context.check(config, tokenizer, tokens, settings["max_length"], params["model_name"])
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
    total_steps = run_record.total_steps(len(train), settings)
    every = settings["eval_steps"] if settings["eval_steps"] >= 1 else math.ceil(settings["eval_steps"] * total_steps)
    steps = {"eval_strategy": "steps", "eval_steps": every, "logging_steps": max(1, every // 2)}
    arguments = run_record.training_arguments(job, settings, seed, scratch, device, **steps)
    model, found = classifier.load_model(model_folder, dataset["labels"], seed, settings.get("classifier_dropout"))
    head = found if params["head"] is None else params["head"]
    augmented = run_record.initial_adapter(job)
    model = adapters.start_training(model, method, head, augmented, total_steps)
    sizes = adapters.count(model, head)

    def judge(prediction) -> dict[str, float]:
        scores, labels = map(np.empty_like, (prediction.predictions, prediction.label_ids))
        scores[order], labels[order] = prediction.predictions, prediction.label_ids
        return metrics.values(shown, labels, metrics.predictions(scores, dataset["labels"]))

    trainer = hf_trainer.ResumableTrainer(
        model=model,
        args=arguments,
        train_dataset=train,
        eval_dataset=dev.select(order),
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=judge,
        callbacks=[hf_trainer.KeepBest(scratch / "best", dataset["score"], model, sign)],
        method=method,
        settings=settings,
        head=head,
    )
    attempts = run_record.run_to_end(job, trainer, started, total_steps)
    if not evaluated_last(trainer):
        trainer.evaluate()
    if not trainer.is_world_process_zero():
        return

    curve = hf_trainer.curve(trainer.state.log_history, shown)
    best = max(curve, key=lambda entry: sign * entry["metrics"][dataset["score"]])
    result = {"steps": trainer.state.global_step, "best_step": best["step"], "score": dataset["score"], "curve": curve}
    if "held_out" in settings:
        result["held_out"] = trials.score(dataset["score"], best["metrics"][dataset["score"]], train, dev)

    def save(folder: Path) -> None:
        adapters.save(model, folder)
        if "kill_at_step" not in settings:  # `hra-workflow smoke` measures the evaluation separately
            score(job, {"seed": seed, "hyperparameters": settings} | result, folder.parent, device)

    run_record.finish(job, attempts, started, device, sizes, save, **result)
    last, highest = (entry["metrics"][dataset["score"]] for entry in (curve[-1], best))
    print(f"{dataset['score']}: last {last:.4f}, best {highest:.4f}")


def score(job: dict, run: dict, weights: Path, device: str) -> None:
    """Write the scores of a run's weights for the splits of its benchmarks. run: as in compute_scores."""
    params = job["params"]
    saved = {name: weights / name / adapters.WEIGHTS for name in ("last", "best")}
    batch_size = params["eval_batch_size"] or run["hyperparameters"]["batch_size"]
    for split in dict.fromkeys(params["evaluation"]["benchmarks"].values()):
        scores = evaluate_glue.compute_scores(
            job["input"], params["dataset"], params["method"], run, saved, split, batch_size, device
        )
        evaluate_glue.write_scores(weights / trials.SCORES, split, scores)


def evaluated_last(trainer) -> bool:
    steps = [entry["step"] for entry in trainer.state.log_history if "eval_loss" in entry]
    return bool(steps) and steps[-1] == trainer.state.global_step


if __name__ == "__main__":
    start(main, __file__, globals().get("snakemake"), trains=True)
