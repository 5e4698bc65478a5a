"""Mathematical reasoning with a causal language model, and the loss of other abilities by fine-tuning (retention)."""

from collections.abc import Mapping
from typing import ClassVar

from hra_workflow import methods
from hra_workflow.core.errors import expect, one_of
from hra_workflow.tasks.base import Cost, Data, Evaluation, Task, Training, Usage
from hra_workflow.tasks.data import generated
from hra_workflow.tasks.math import graders, serving
from hra_workflow.tasks.math.generation import TEXT, MathGeneration
from hra_workflow.tasks.math.tables import MathTable
from hra_workflow.tasks.training import LENGTH

LONGER_ANSWERS = 7  # a base model's answers reach `max_new_tokens`: factor over the tokens of a trained model's answers


class MathData(Data):
    gold = "hra_workflow.tasks.math.answers:gold"

    def check_entry(self, key: str, name: str) -> None:
        super().check_entry(key, name)
        entry = self.datasets[name]
        text, columns = "text" in entry["columns"], ", ".join(entry["columns"])
        expect(
            set(entry["columns"]) == ({"text"} if text else {"question", "answer"}),
            f"{key}.columns: expected question and answer, or text alone (general text), found {columns}. Correct it",
        )
        for unused in ("answer", "benchmarks"):
            expect(not text or unused not in entry, f"{key}: general text has no {unused}. Remove it")
        expect(text or "answer" in entry, f"{key}: expected `answer`, how its final answers are marked. Add it")
        if "benchmarks" in entry:
            expect(
                TEXT not in entry["benchmarks"],
                f"{key}.benchmarks: {TEXT} is the benchmark of tasks.{self.name}.{TEXT}. Choose another name",
            )
            one_of(f"{key}: splits", "split", "train", entry["splits"])
            for metric in entry["metrics"]:
                graders.find(metric, f"{key}: metrics")
            one_of(f"{key}: score", "metric", entry["score"], entry["metrics"])
        for benchmark, source in entry.get("benchmarks", {}).items():
            dataset, split = source.split("/")
            with_answers = [other for other, values in self.datasets.items() if "answer" in values]
            one_of(f"{key}: benchmarks.{benchmark}", "dataset", dataset, with_answers)
            one_of(f"{key}: benchmarks.{benchmark}", "split", split, self.datasets[dataset]["splits"])

    def probe(self, dataset: str, rows: int, hyperparameters: dict) -> tuple[dict[str, dict], dict]:
        entry, generation = self.datasets[dataset], self.settings["generation"]
        longest = max(entry["benchmarks"], key=lambda name: generation["max_new_tokens"][name])
        length = {"length": hyperparameters["max_length"], "typical": entry.get("tokens")}

        def answered(**counts: int) -> dict:
            return {
                "source": generated("answered", rows=counts, **length),
                "splits": {split: [f"{split}.parquet"] for split in counts},
                "columns": {"question": "question", "answer": "answer"},
                "answer": "metamath",
                "rows": counts,
            }

        return {
            "preflight": answered(train=rows)
            | {key: entry[key] for key in ("tokens",) if key in entry}
            | {"benchmarks": {longest: "preflight-test/test"}, "metrics": entry["metrics"], "score": entry["score"]},
            "preflight-test": answered(test=generation["batch_size"]),
        }, {"generation": generation | {"shards": 1, "backend": "transformers"} | self.shorter(generation)}

    def shorter(self, generation: dict) -> dict:
        """Return the limits of answers, if `probes` has one."""
        tokens = self.config["probes"]["tokens"]
        return {"max_new_tokens": dict.fromkeys(generation["max_new_tokens"], tokens)} if tokens else {}


class MathTraining(Training):
    """The training of a language model.

    learner: how it learns, a class `module:Class` with the methods of training/learner.py.
    """

    automatic = ("gradient_checkpointing",)
    learner: ClassVar[str] = "hra_workflow.training.learner:Learner"

    def check_runs(self) -> None:
        for run in self.task.runs():
            name = f"{run['method']}/{run['variant']}"
            values = self.hyperparameters(run["dataset"], name)
            expect(
                methods.get(self.config, run["method"]).recomputes or values["gradient_checkpointing"] is not True,
                f"config: tasks.{self.name}: {name} cannot be trained with gradient checkpointing, which drops its "
                "keys and values. Set gradient_checkpointing to auto or false in its preset",
            )


class MathEvaluation(Evaluation):
    def resources(self, wildcards: Mapping[str, str]) -> dict:
        training = self.settings["resources"]  # grading uses no GPU
        return {
            "gpu": 0,
            "threads": min(8, training["threads"]),
            "mem_mb": min(8000, training["mem_mb"]),
            "runtime": 60,
        }

    def retention_benchmarks(self, run: dict) -> list[str]:
        return [TEXT] if self.settings.get(TEXT) else []

    def retention(self) -> dict | None:
        if not self.settings.get(TEXT):
            return None
        label = "loss on general text, nats per token"
        return {"benchmark": TEXT, "metric": "loss", "label": label, "better": "lower"}

    def graders(self, dataset: str) -> dict[str, int]:
        """Return the versions of the graders of a training set's benchmarks."""
        return {name: graders.find(name).version for name in self.datasets[dataset]["metrics"]}

    def rule(self, benchmark: str) -> str:
        return "evaluate_general_text" if benchmark == TEXT else super().rule(benchmark)

    def general_text(self) -> tuple[str, str]:
        """Return the dataset and the split of the text on which the loss is computed."""
        dataset, split = self.settings[TEXT]["source"].split("/")
        return dataset, split

    def check_runs(self) -> None:
        if self.settings.get(TEXT):
            key, (name, split) = f"config: tasks.{self.name}.{TEXT}.source", self.general_text()
            texts = [dataset for dataset, entry in self.datasets.items() if "text" in entry["columns"]]
            one_of(key, "dataset with a column text", name, texts)
            one_of(key, "split", split, self.datasets[name]["splits"])


class MathCost(Cost):
    own_rules = ("download_harness",)

    def resources(self, rule: str, stage: str) -> dict:
        section = {"evaluate_harness": "retention", "evaluate_general_text": TEXT}.get(rule)
        return self.settings[section]["resources"] if section else super().resources(rule, stage)

    def work(self, stage: str, wildcards: dict) -> float | None:
        if stage != "generate" or wildcards.get("dataset") not in self.datasets:
            return super().work(stage, wildcards)
        names = self.datasets[wildcards["dataset"]].get("benchmarks", {})
        rows = [super(MathCost, self).work(stage, wildcards | {"benchmark": name}) for name in names]
        longer = 1.0
        if "method" in wildcards and not methods.get(self.config, wildcards["method"]).trains:
            longest = max(map(self.settings["generation"]["max_new_tokens"].get, names))
            typical = self.datasets[wildcards["dataset"]].get("tokens", longest / LONGER_ANSWERS)
            longer = max(1.0, min(LONGER_ANSWERS, longest / typical))
        return sum(rows) * longer if all(rows) else None


class MathUsage(Usage):
    pipeline_tag = "text-generation"
    predicts_from = (("prompts",),)

    def prediction(self, dataset: str, run: str) -> dict:
        return serving.prediction(self.task, dataset, run)


class Math(Task):
    name = "math"
    title = "Mathematical reasoning"
    architecture = "causal_lm"
    required = (LENGTH, "max_length", "base_precision", "gradient_checkpointing", "group_by_length")
    data = MathData
    training = MathTraining
    generation = MathGeneration
    evaluation = MathEvaluation
    table = MathTable
    cost = MathCost
    usage = MathUsage


TASK = Math
