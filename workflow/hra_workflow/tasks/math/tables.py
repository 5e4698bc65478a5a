"""The contents of the tables of mathematical reasoning: main table, retention (Table 3) and compute (Table 6)."""

import math
from dataclasses import replace
from difflib import SequenceMatcher

from hra_workflow import methods
from hra_workflow.core import grid
from hra_workflow.core.errors import expect, one_of
from hra_workflow.tasks.math import serving
from hra_workflow.tasks.metric import Metric
from hra_workflow.tasks.table import Table


class MathTable(Table):
    lambda_sources = ("Figure 4", "Table 7")
    notes = (
        "Each answer is graded in three ways. `official`: the official repository's lenient rules (first number after "
        "the marker, rounded; × 100 and / 100 accepted; malformed LaTeX counts as equal), for comparison with the "
        "paper's numbers. `strict`: everything after the last “The answer is:”, exactly (math-verify for MATH). "
        "`lenient`: without that marker, the last answer found, exactly.",
        "The paper copied LoRA, OFT and BOFT from BOFT and PiSSA from PiSSA (other targets and hyper-parameters), and "
        "gives no seeds. It rotates the input side (Eq. 2), as we do; the official llama code rotates the output side.",
    )

    @classmethod
    def metric(cls, name: str) -> Metric:
        return replace(super().metric(name), answers=True)  # an answer is graded right or wrong

    def names(self) -> list[str]:
        rows = {"retention": self.retention_rows(), "compute": self.compute_rows()}
        return [self.name, *(name for name, runs in rows.items() if runs)]

    @classmethod
    def per_item(cls, lines: list[dict], selection: str, metric: str, settings: dict) -> list[tuple] | None:
        if not all(isinstance(line.get(metric), dict) for line in lines):  # general text, whose items have weights
            return None
        return [(line[metric]["right"],) for line in lines]

    @classmethod
    def change(cls, first: dict, second: dict, score: str) -> float:
        """Return the fraction of words that differ, plus 1 if only one of the answers is correct."""
        if "output" not in first:
            return super().change(first, second, score)
        texts = [line["output"].split() for line in (first, second)]
        equal = texts[0] == texts[1] or SequenceMatcher(None, *texts, autojunk=False).ratio()
        return (first[score]["right"] != second[score]["right"]) + 1.0 - equal

    @classmethod
    def example(cls, line: dict, dataset: dict) -> dict[str, str]:
        graded = {name: "correct" if line[name]["right"] else "incorrect" for name in dataset["metrics"]}
        return {"prompt": line["prompt"], "response": line["output"], "correct answer": line["gold"]} | graded

    def without_answer_marker(self) -> list[str]:
        entries = {name: self.datasets[name] for name in grid.datasets(self.config, self.name)}
        return [
            name for name, entry in entries.items() if entry["answer"] != "metamath" and "strict" in entry["metrics"]
        ]

    def warnings(self) -> list[str]:
        counts = grid.seeds_expected(self.config, self.name).items()
        repeated = [(run, max(seeds.values())) for run, seeds in counts if not methods.trains(self.config, run)]
        return [
            *(
                f"{run} is in the grid with {seeds} seeds, on which its answers do not depend. One is enough."
                for run, seeds in repeated
                if seeds > 1
            ),
            *(
                f"{name} ({self.datasets[name]['answer']}) never teaches “The answer is: ”, so its `strict` stays near "
                "0. Use `lenient` as a metric, a score and in columns."
                for name in self.without_answer_marker()
            ),
            *(
                f"{len(missing)} of the runs of tasks.{self.name}.{table} are not in the grid, and so not in "
                f"table_{table}: {', '.join(missing)}"
                for table, rows in {"retention": self.retention_rows(), "compute": self.compute_rows()}.items()
                if (missing := [run for run in (self.settings.get(table) or {}).get("runs", []) if run not in rows])
            ),
            *serving.warnings(self.task.generation.backend),
        ]

    # Retention

    def harness_benchmarks(self) -> dict[str, dict]:
        """Return the retention benchmarks to run, without those disabled by `unsafe_code: false`."""
        entries = self.settings["retention"]["benchmarks"]
        return {name: entry for name, entry in entries.items() if entry.get("unsafe_code") is not False}

    def unsafe_benchmarks(self) -> list[str]:
        """Return the retention benchmarks that `unsafe_code: false` disables, for the table."""
        return [name for name in self.settings["retention"]["benchmarks"] if name not in self.harness_benchmarks()]

    def retention_runs(self) -> list[dict]:
        """Return the runs of the retention table that are in the grid: `dataset`, `method`, `variant`, `seed`.

        Returns None if the base model, with which they are compared, is not in the grid.
        """
        entry, grid_runs = self.settings.get("retention"), self.task.runs()
        if not entry:
            return []
        runs = [
            {"dataset": entry["dataset"], "method": method, "variant": variant, "seed": seed}
            for method, variant in (run.split("/") for run in entry["runs"])
            for seed in entry["seeds"]
        ]
        runs = [run for run in runs if run in grid_runs]
        return runs if any(f"{run['method']}/{run['variant']}" == entry["base"] for run in runs) else []

    def retention_rows(self) -> list[str]:
        """Return the rows of the retention table: `method/variant`."""
        return list(dict.fromkeys(f"{run['method']}/{run['variant']}" for run in self.retention_runs()))

    def retention_seeds(self) -> list[int]:
        """Return the seeds of the retention table."""
        return list(dict.fromkeys(run["seed"] for run in self.retention_runs()))

    def check_retention(self, key: str) -> None:
        entry = self.settings["retention"]
        self.check_heads(f"{key}.benchmarks", list(entry["benchmarks"]))
        one_of(f"{key}.dataset", "dataset", entry["dataset"], self.datasets)
        one_of(f"{key}.base", "run", entry["base"], entry["runs"])
        expect(
            self.harness_benchmarks(),
            f"{key}.benchmarks: all have `unsafe_code: false`, so none runs. Set one to true, or retention: null",
        )
        for run in self.retention_rows():
            expect(
                not methods.get(self.config, run.split("/")[0]).adapter.virtual,
                f"{key}.runs: {run} has virtual tokens, which lm-eval's generation does not support. Remove it",
            )

    # Compute

    def compute_rows(self) -> list[str]:
        """Return the rows of Table 6 that are in the grid: `method/variant`."""
        grid_runs = grid.run_names(self.config, self.name) if self.settings else []
        return [run for run in (self.settings.get("compute") or {}).get("runs", []) if run in grid_runs]

    def check_compute(self, key: str) -> None:
        """Raise JobError unless a device processes the same number of rows at a time in all runs of a dataset."""
        expect(
            all(grid.runs_per_gpu(self.settings["resources"], run) == 1 for run in self.compute_rows()),
            f"config: tasks.{self.name}.resources: expected runs_per_gpu: 1, since table_compute reports times, which "
            "a shared GPU changes. Set it to 1",
        )
        for dataset in sorted(grid.datasets(self.config, self.name)):
            runs = {f"{run['method']}/{run['variant']}" for run in self.task.runs() if run["dataset"] == dataset}
            self.check_micro_batches(key, dataset, [run for run in self.compute_rows() if run in runs])

    def check_micro_batches(self, key: str, dataset: str, runs: list[str]) -> None:
        training = self.task.training
        values = {run: training.hyperparameters(dataset, run) for run in runs if methods.trains(self.config, run)}
        devices = {run: max(1, training.resources(run)["gpu"]) for run in values}
        sizes = {
            run: entry["batch_size"] // entry["gradient_accumulation"] // devices[run] for run, entry in values.items()
        }
        equal = math.gcd(*sizes.values())
        remedies = [
            f"gradient_accumulation: {values[run]['batch_size'] // devices[run] // equal} in "
            f"{grid.preset(self.config, self.name, run)}"
            for run in values
            if sizes[run] != equal
        ]
        expect(
            not remedies,
            f"{key}: expected equal micro-batches (batch_size / gradient_accumulation / "
            f"gpu) on {dataset}, found {', '.join(f'{run} {size}' for run, size in sizes.items())}. Make all of them "
            f"{equal} in presets.{self.name}: {'; '.join(dict.fromkeys(remedies))}",
        )

    def check_runs(self) -> None:
        super().check_runs()
        key = f"config: tasks.{self.name}"
        for table in ("retention", "compute"):
            for run in (self.settings.get(table) or {}).get("runs", []):  # rows that are not in the grid are skipped
                one_of(f"{key}.{table}.runs", "run", run, grid.every_run(self.config))
        self.check_compute(f"{key}.compute")
        if self.settings.get("retention"):
            self.check_retention(f"{key}.retention")
