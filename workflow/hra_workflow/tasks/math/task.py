"""Mathematical reasoning with a causal language model, and the loss of other abilities by fine-tuning (retention)."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import ClassVar

from hra_workflow import methods
from hra_workflow.core import grid
from hra_workflow.core.errors import expect, one_of
from hra_workflow.tasks.base import Task
from hra_workflow.tasks.datasets import generated, reading
from hra_workflow.tasks.math import extra_tables, graders
from hra_workflow.tasks.metric import Metric
from hra_workflow.tasks.training import LENGTH

LONGER_ANSWERS = 7  # a base model's answers reach `max_new_tokens`: factor over the tokens of a trained model's answers


def with_suffix(settings: dict, suffix: str) -> dict:
    """Return the settings of prompts in evaluation: those of the training, with a suffix of their texts."""
    return settings | {name: settings[name] + suffix for name in ("template", "message") if name in settings}


class Math(Task):
    """Mathematical reasoning.

    learner: how it learns, a class `module:Class` with the methods of training/learner.py.
    """

    name = "math"
    title = "Mathematical reasoning"
    keys = "hra_workflow.tasks.math.keys"
    architecture = "causal_lm"
    required = (LENGTH, "max_length", "base_precision", "gradient_checkpointing", "group_by_length")
    learner: ClassVar[str] = "hra_workflow.training.learner:Learner"
    own_rules = ("download_harness",)
    pipeline_tag = "text-generation"
    predicts_from = (("prompts",),)
    lambda_sources = ("Figure 4", "Table 7")

    def check_runs(self) -> None:
        key, entry = f"config: tasks.{self.name}", self.settings["generation"]
        for run in self.runs():
            self.check_run(run, f"{key}: {run['method']}/{run['variant']}")
        for dataset in {run["dataset"] for run in self.runs()}:
            for benchmark in self.datasets[dataset]["benchmarks"]:
                one_of(f"{key}.generation.max_new_tokens", "benchmark", benchmark, entry["max_new_tokens"])
        extra_tables.check(self)

    def check_run(self, run: dict, key: str) -> None:
        """Raise JobError if a run's method does not support a 4-bit base model, or how the config serves it."""
        method, kind = methods.get(self.config, run["method"]), grid.kind_of(self.config["methods"][run["method"]])
        quantized = self.hyperparameters(run["dataset"], f"{run['method']}/{run['variant']}").get("quantization")
        expect(
            not quantized or method.quantizes,
            f"{key} is on a 4-bit base model: expected a kind for which PEFT has 4-bit layers, found {kind}. Set "
            "`quantization: null` in its preset",
        )
        merges = method.adapter.merges and (not quantized or method.adapter.merges_quantized)
        expect(
            merges or not method.trains or self.settings["generation"]["serve"] == "adapter",
            f"{key}: generation.serve: expected adapter, since kind {kind} cannot be merged"
            f"{' into a 4-bit base model' if quantized else ''}, found merged. Correct it",
        )

    # Data

    @staticmethod
    def final_answer(style: str, text: str) -> str:
        from hra_workflow.tasks.math import answers  # not when a plan is made

        return answers.gold(style, text)

    def check_entry(self, key: str, name: str) -> None:
        super().check_entry(key, name)
        entry = self.datasets[name]
        if "benchmarks" in entry:
            one_of(f"{key}: splits", "split", "train", entry["splits"])
            for metric in entry["metrics"]:
                graders.find(metric, f"{key}: metrics")
            one_of(f"{key}: score", "metric", entry["score"], entry["metrics"])
        for benchmark, source in entry.get("benchmarks", {}).items():
            dataset, split = source.split("/")
            one_of(f"{key}: benchmarks.{benchmark}", "dataset", dataset, self.datasets)
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
        }, {"generation": generation | {"shards": 1} | self.shorter(generation)}

    def shorter(self, generation: dict) -> dict:
        """Return the limits of answers, if `probes` has one."""
        tokens = self.config["probes"]["tokens"]
        return {"max_new_tokens": dict.fromkeys(generation["max_new_tokens"], tokens)} if tokens else {}

    # Generation

    def prompt(self, evaluation: bool = False) -> dict:
        """Return the settings of prompts (models/prompts.py) that have an effect, in training or in evaluation."""
        entry = self.settings["prompt"]
        texts = {False: ["template"], True: ["message"], "auto": ["template", "message"]}[entry["chat"]]
        chat = {key: entry[key] for key in ("chat", "arguments")} if entry["chat"] else {}
        prompt = {name: entry[name] for name in texts} | chat
        return with_suffix(prompt, entry["evaluation_suffix"]) if evaluation else prompt

    def answer_settings(self, run: str) -> dict:
        """Return the settings that a run's answers depend on; the number of shards is not one of them."""
        entry = self.settings["generation"]
        serve = entry["serve"] if methods.trains(self.config, run) else None
        return {key: entry[key] for key in ("batch_size", "stop")} | {"serve": serve}

    def generation_precision(self, dataset: str, run: str) -> str:
        """Return the precision of the base model's weights in generation."""
        return self.settings["generation"].get("precision") or self.hyperparameters(dataset, run)["precision"]

    def questions(self, dataset: str) -> dict[str, dict]:
        """Return split and length of answers of every benchmark of a dataset, by name."""
        limits = self.settings["generation"]["max_new_tokens"]
        return {
            name: {"split": source.split("/")[1], "max_new_tokens": limits[name]}
            for name, source in sorted(self.datasets[dataset]["benchmarks"].items())
        }

    def question_datasets(self, dataset: str) -> list[str]:
        """Return the datasets of `questions`, in the same order."""
        return [source.split("/")[0] for _, source in sorted(self.datasets[dataset]["benchmarks"].items())]

    def folder_of_shards(self, benchmark: str) -> str:
        return "answers"  # one job answers all benchmarks

    # Evaluation

    def evaluation_resources(self, wildcards: Mapping[str, str]) -> dict:
        training = self.settings["resources"]  # grading uses no GPU
        return {
            "gpu": 0,
            "threads": min(8, training["threads"]),
            "mem_mb": min(8000, training["mem_mb"]),
            "runtime": 60,
        }

    def graders(self, dataset: str) -> dict[str, int]:
        """Return the versions of the graders of a training set's benchmarks."""
        return {name: graders.find(name).version for name in self.datasets[dataset]["metrics"]}

    # Tables

    @classmethod
    def metric(cls, name: str) -> Metric:
        return replace(super().metric(name), answers=True)  # an answer is graded right or wrong

    def tables(self) -> list[str]:
        return [self.name, *(table for table, runs in extra_tables.rows(self).items() if runs)]

    @classmethod
    def per_item(cls, lines: list[dict], selection: str, metric: str, settings: dict) -> list[tuple]:
        return [(line[metric]["right"],) for line in lines]

    def warnings(self) -> Iterator[str]:
        for run, expected in grid.seeds_expected(self.config, self.name).items():
            seeds = max(expected.values())
            if seeds > 1 and not methods.trains(self.config, run):
                yield f"{run} is in the grid with {seeds} seeds, on which its answers do not depend. One is enough."
        for name in grid.datasets(self.config, self.name):
            entry = self.datasets[name]
            if entry["answer"] != "metamath" and "strict" in entry["metrics"]:
                yield (
                    f"{name} ({entry['answer']}) never teaches “The answer is: ”, so its `strict` stays near 0. Use "
                    "`lenient` as a metric, a score and in columns."
                )
        for table, rows in extra_tables.rows(self).items():
            stated = (self.settings.get(table) or {}).get("runs", [])
            if missing := [run for run in stated if run not in rows]:
                yield (
                    f"{len(missing)} of the runs of tasks.{self.name}.{table} are not in the grid, and so not in "
                    f"table_{table}: {', '.join(missing)}"
                )

    # Plan

    def resources(self, rule: str, stage: str) -> dict:
        own = self.settings["retention"] if rule == "evaluate_harness" else None
        return own["resources"] if own else super().resources(rule, stage)

    def work(self, stage: str, wildcards: dict) -> float | None:
        if stage != "generate" or wildcards.get("dataset") not in self.datasets:
            return super().work(stage, wildcards)
        names = self.datasets[wildcards["dataset"]].get("benchmarks", {})
        rows = [super(Math, self).work(stage, wildcards | {"benchmark": name}) for name in names]
        longer = 1.0
        if "method" in wildcards and not methods.get(self.config, wildcards["method"]).trains:
            longest = max(map(self.settings["generation"]["max_new_tokens"].get, names))
            typical = self.datasets[wildcards["dataset"]].get("tokens", longest / LONGER_ANSWERS)
            longer = max(1.0, min(LONGER_ANSWERS, longest / typical))
        return sum(rows) * longer if all(rows) else None

    # Finished runs

    def prediction(self, dataset: str, run: str) -> dict:
        entry = self.datasets[dataset]
        return {
            "reading": reading(entry),
            "column": entry["columns"]["question"],
            "evaluation_suffix": self.settings["prompt"]["evaluation_suffix"],
            "generation": self.answer_settings(run),
            "max_new_tokens": max(each["max_new_tokens"] for each in self.questions(dataset).values()),
            "precision": self.generation_precision(dataset, run),
            "quantization": self.hyperparameters(dataset, run).get("quantization"),
        }


TASK = Math
