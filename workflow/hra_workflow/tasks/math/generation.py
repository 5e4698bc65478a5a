"""The generation of answers, for the rules: questions, settings, the backend and the shards."""

from functools import cached_property

from hra_workflow.core import grid
from hra_workflow.core.errors import one_of
from hra_workflow.tasks.generation import Generation
from hra_workflow.tasks.math import serving

TEXT = "general_text"  # the key of the config, and the benchmark


def of_evaluation(prompt: dict, suffix: str) -> dict:
    """Return the settings of prompts in evaluation: those of the training, with a suffix of their texts."""
    return prompt | {name: prompt[name] + suffix for name in ("template", "message") if name in prompt}


class MathGeneration(Generation):
    def prompt(self, evaluation: bool = False) -> dict:
        """Return the settings of prompts (models/prompts.py) that have an effect, in training or in evaluation."""
        entry = self.settings["prompt"]
        texts = {False: ["template"], True: ["message"], "auto": ["template", "message"]}[entry["chat"]]
        chat = {key: entry[key] for key in ("chat", "arguments")} if entry["chat"] else {}
        prompt = {name: entry[name] for name in texts} | chat
        return of_evaluation(prompt, entry["evaluation_suffix"]) if evaluation else prompt

    def answer_settings(self, run: str) -> dict:
        """Return the settings that a run's answers depend on; the number of shards is not one of them."""
        entry = self.settings["generation"]
        chosen = {"backend": self.backend, "serve": serving.serving_mode(self.task, run, self.backend)}
        return {key: entry[key] for key in ("batch_size", "stop")} | chosen

    def precision(self, dataset: str, run: str) -> str:
        """Return the precision of the base model's weights in generation and on general text."""
        return (
            self.settings["generation"].get("precision")
            or self.task.training.hyperparameters(dataset, run)["precision"]
        )

    @cached_property
    def backend(self) -> str:
        return serving.backend(self.task)

    def choices(self) -> list[str]:
        chosen = serving.describe_choice(self.task, self.backend)
        return [f"answers:  {chosen}", *serving.describe_merged(self.task, self.backend)]

    def begin(self, rules: set[str]) -> None:
        if "generate_math" in rules:
            serving.save_backend(self.task, self.backend)

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

    def shards(self, wildcards: dict) -> int:
        return 0 if wildcards.get("benchmark") == TEXT else super().shards(wildcards)

    def folder_of_shards(self, benchmark: str) -> str:
        return "answers"  # one job answers all benchmarks

    def check_runs(self) -> None:
        task, entry = f"config: tasks.{self.name}", self.settings["generation"]
        for name in {run["dataset"] for run in self.task.runs()}:
            for benchmark in self.datasets[name]["benchmarks"]:
                one_of(f"{task}.generation.max_new_tokens", "benchmark", benchmark, entry["max_new_tokens"])
        for key in entry["serve"] if isinstance(entry["serve"], dict) else ():
            one_of(f"{task}.generation.serve", "method or variant", key, grid.run_keys(self.config))
        for run in self.task.runs():
            serving.check(self.task, run, f"{task}: {run['method']}/{run['variant']}", self.backend)
