"""Short training runs on two CPU cores, for questions that take a hundred of them: word problems and SST-2.

Data, tokens, masks and the held-out tenth are the workflow's, and so are the hyper-parameters of the studies
(studies/equal_budgets), except that the batches of both tasks contain rows of similar length, in random order.
A run returns its loss on the held-out tenth; its row is appended to a table at once.
"""

import csv
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow
import torch
import yaml
from pyarrow import parquet
from torch import nn
from transformers import DataCollatorForSeq2Seq, DataCollatorWithPadding, get_scheduler

from hra_workflow.data import held_out, text_tables
from hra_workflow.demo import text_tasks
from hra_workflow.models import causal_lm, classifier, prompts
from hra_workflow.tasks.math import answers
from hra_workflow.training.length_windows import LengthWindows

ROOT, STUDY = Path(__file__).parents[2], Path(__file__).parent
RESULTS, PAGE = STUDY / "results", STUDY / "README.md"
LLAMA = ROOT / "workflow/word-problems-llama"
EVALUATED = 100  # rows per batch


class Task(NamedTuple):
    """Rows, base model and hyper-parameters of a run. model: from a seed, the base model and its head's modules."""

    name: str
    model: Callable[[int], tuple[nn.Module, list[str]]]
    targets: list[str]
    train: Any
    held: Any
    collate: Callable
    settings: dict


def config(name: str) -> dict:
    return yaml.safe_load((ROOT / f"{name}.yaml").read_text())


def settings(of: str) -> dict:
    """Return the hyper-parameters of the studies for a task, with the defaults of the task and of the demo."""
    demo, study = config("config/demo/config")["tasks"][of], config("studies/equal_budgets/config/comparison")
    defaults = config(f"config/{of}/task")["tasks"][of]["defaults"] | demo.get("defaults", {})
    return defaults | study["presets"][of]["comparison"]["all"] | {"held_out": study["tasks"][of]["held_out"]}


def word_problems(folder: Path = LLAMA, rows: int = 4000, name: str = "word problems") -> Task:
    """Return the demo's word problems of two and three steps, for a Llama in `folder` that solves those of one step."""
    study, used = config("demo/comparison"), settings("math")
    tokenizer = causal_lm.load_tokenizer(folder)
    prompt = prompts.Prompt(study["tasks"]["math"]["prompt"], tokenizer, folder)
    generated = text_tasks.metamath({"train": rows}, 0)["train"]
    with tempfile.TemporaryDirectory() as data:
        table = {"question": [row["query"] for row in generated], "answer": [row["response"] for row in generated]}
        parquet.write_table(pyarrow.table(table), f"{data}/train.parquet")
        data = causal_lm.training_rows(Path(data), "train", prompt, used["max_length"])

    def model(seed: int) -> tuple[nn.Module, list[str]]:
        torch.manual_seed(seed)
        loaded = causal_lm.load_model(folder, "float32")
        loaded.config.use_cache = False
        return loaded, []

    kept, chosen = held_out.split(np.arange(len(data)), None, **used["held_out"])
    collate = DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=causal_lm.IGNORED)
    targets = config("config")["models"]["word-problems-llama"]["targets"]["paper"]
    return Task(name, model, targets, data.select(kept), data.select(chosen), collate, used)


def sst2(folder: Path, shared: Path) -> Task:
    """Return SST-2 for all-MiniLM-L6-v2 in `folder`; shared: the folder with its files, glue_sst2."""
    used, entry = settings("glue"), config("demo/real_data")["datasets"]["glue"]["sst2-sentences"]
    entry["splits"] = {"train": entry["splits"]["train"]}
    read = text_tables.read_splits("sst2-sentences", entry, shared / entry["source"]["path"], answers.gold)
    tokenizer = classifier.load_tokenizer(folder)
    with tempfile.TemporaryDirectory() as data:
        text_tables.write(read, Path(data))
        data = classifier.tokenized(Path(data), "train", entry["columns"], tokenizer, used["max_length"])

    def model(seed: int) -> tuple[nn.Module, list[str]]:
        loaded, _ = classifier.load_model(folder, entry["labels"], seed, used["classifier_dropout"])
        return loaded, ["pooler", "classifier"]  # as in the studies

    kept, chosen = held_out.split(np.asarray(data["labels"]), entry["labels"], **used["held_out"])
    targets, collate = config("config")["models"]["minilm-l6"]["targets"]["paper"], DataCollatorWithPadding(tokenizer)
    return Task("SST-2", model, targets, data.select(kept), data.select(chosen), collate, used)


def train(task: Task, adapt: Callable[[nn.Module, list[str]], nn.Module], rate: float, seed: int) -> dict[str, float]:
    """Train a new model for one run; return the held-out loss, the accuracy of a classifier, and what it cost.

    adapt: returns the model with adapters, given the base model and its head's modules. All other parameters that it
    leaves trainable are the head's, which has the study's own learning rate.
    """
    used, started = task.settings, time.process_time()
    model, head = task.model(seed)
    model = adapt(model, head).train()
    trained = {name: one for name, one in model.named_parameters() if one.requires_grad}
    of_head = [one for name, one in trained.items() if any(f".{part}." in f".{name}" for part in head)]
    ids = {id(one) for one in of_head}
    adapter = [one for one in trained.values() if id(one) not in ids]
    groups = [{"params": adapter, "lr": rate}, {"params": of_head, "lr": used.get("head_learning_rate", rate)}]
    optimizer = torch.optim.AdamW(
        [group for group in groups if group["params"]], weight_decay=used["weight_decay"], eps=used["adam_epsilon"]
    )
    rows, batch = list(task.train), used["batch_size"]
    order = LengthWindows([len(row["input_ids"]) for row in rows], batch, seed)
    steps = used.get("steps") or used["epochs"] * -(-len(rows) // batch)
    warmup = used["warmup_steps"] if used["warmup_steps"] >= 1 else round(used["warmup_steps"] * steps)
    scheduler = get_scheduler(used.get("schedule", "linear"), optimizer, warmup, steps)
    torch.manual_seed(seed)
    done, epoch = 0, 0
    while done < steps:
        order.set_epoch(epoch)
        epoch, places = epoch + 1, list(order)
        for first in range(0, len(places), batch)[: steps - done]:
            inputs = task.collate([rows[place] for place in places[first : first + batch]])
            with precision(used):
                loss = model(**inputs).loss
            loss.backward()
            if used["max_grad_norm"]:
                nn.utils.clip_grad_norm_(trained.values(), used["max_grad_norm"])
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            done += 1
        if not torch.isfinite(loss):
            break
    found = evaluate(task, model.eval())
    return (
        {"loss": None, "accuracy": None}
        | found
        | {
            "parameters": sum(one.numel() for one in adapter),
            "steps": steps,
            "train_loss": loss.item(),
            "cpu_seconds": time.process_time() - started,
        }
    )


def precision(used: dict):
    return torch.autocast("cpu", torch.bfloat16) if used["precision"] == "bf16" else nullcontext()


@torch.inference_mode()
def evaluate(task: Task, model: nn.Module) -> dict[str, float]:
    """Return the mean loss over the held-out rows, or over their answers' tokens, and the accuracy of a classifier."""
    rows = sorted(task.held, key=lambda row: len(row["input_ids"]))
    losses, weights, correct = [], [], []
    for first in range(0, len(rows), EVALUATED):
        inputs = task.collate(rows[first : first + EVALUATED])
        with precision(task.settings):
            output = model(**inputs)
        labels = inputs["labels"]
        losses.append(output.loss.item())
        weights.append(int((labels[:, 1:] != causal_lm.IGNORED).sum()) if labels.ndim > 1 else len(labels))
        if labels.ndim == 1:
            correct.append(100 * (output.logits.argmax(-1) == labels).float().mean().item())
    found = {"loss": losses} | ({"accuracy": correct} if correct else {})
    return {name: float(np.average(values, weights=weights)) for name, values in found.items()}


def append(path: Path, row: dict) -> None:
    """Append a row to a table, whose first row has all columns."""
    new = not path.exists()
    with open(path, "a", newline="") as file:
        writer = csv.DictWriter(file, list(row), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)
    print(*(f"{name} {value}" for name, value in row.items()), file=sys.stderr, flush=True)


def done(path: Path, key: tuple[str, ...]) -> set[tuple[str, ...]]:
    """Return the keys of the rows of a table."""
    if not path.exists():
        return set()
    with open(path) as file:
        return {tuple(row[name] for name in key) for row in csv.DictReader(file)}
