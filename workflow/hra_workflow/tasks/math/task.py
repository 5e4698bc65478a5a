"""Mathematical reasoning with a causal language model, and the loss of other abilities after fine-tuning (retention).

Plain Python on plain dicts: imported by the Snakefile on login nodes, so no torch and no pandas here.
"""

import math
from collections.abc import Mapping
from functools import cached_property

from hra_workflow import methods
from hra_workflow.core import grid, rewound
from hra_workflow.core.errors import expect, one_of
from hra_workflow.tasks.base import Task, generated
from hra_workflow.tasks.math import serving

TEXT = "general_text"  # the key of the config, and the benchmark
LONGER_ANSWERS = 7  # a base model's answers run to `max_new_tokens`: times the tokens of a trained model's


class Math(Task):
    name = "math"
    title = "Mathematical reasoning"
    architecture = "causal_lm"
    pipeline_tag = "text-generation"
    predicts_from = (("prompts",),)
    gold = "hra_workflow.tasks.math.answers:gold"
    required = ("epochs", "max_length", "base_precision", "gradient_checkpointing", "group_by_length")
    automatic = ("gradient_checkpointing",)
    per_process = True  # dropout and the order of rows
    lambda_sources = ("Figure 4", "Table 7")
    own_rules = ("download_harness",)
    notes = (
        "Each answer is graded in three ways. `official`: the official repository's lenient rules (first number after "
        "the marker, rounded; × 100 and / 100 accepted; malformed LaTeX counts as equal), for comparison with the "
        "paper's numbers. `strict`: everything after the last “The answer is:”, exactly (math-verify for MATH). "
        "`lenient`: without that marker, the last answer found, exactly.",
        "The paper copied LoRA, OFT and BOFT from BOFT and PiSSA from PiSSA (other targets and hyper-parameters), and "
        "gives no seeds. It rotates the input side (Eq. 2), as we do; the official llama code rotates the output side.",
    )

    def prediction(self, dataset: str, run: str) -> dict:
        return serving.prediction(self, dataset, run)

    def tables(self) -> list[str]:
        made = {"retention": self.retention_rows(), "compute": self.compared()}
        return [self.name, *(name for name, rows in made.items() if rows)]

    @classmethod
    def per_item(cls, lines: list[dict], selection: str, metric: str, settings: dict) -> list[tuple]:
        return [(line[metric]["right"],) for line in lines]

    @classmethod
    def example(cls, line: dict, row: dict, dataset: dict) -> dict[str, str]:
        graded = {name: "correct" if line[name]["right"] else "incorrect" for name in dataset["metrics"]}
        return {"prompt": line["prompt"], "response": line["output"], "correct answer": line["gold"]} | graded

    def evaluation_resources(self, wildcards: Mapping[str, str]) -> dict:
        stated = self.settings["resources"]  # grading uses no GPU
        return {"gpu": 0, "threads": min(8, stated["threads"]), "mem_mb": min(8000, stated["mem_mb"]), "runtime": 60}

    def resources(self, rule: str, stage: str) -> dict:
        part = {"evaluate_harness": "retention", "evaluate_general_text": TEXT}.get(rule)
        return self.settings[part]["resources"] if part else super().resources(rule, stage)

    def generation(self, run: str) -> dict:
        """Return the settings that a run's answers depend on; the number of shards is not one of them."""
        entry = self.settings["generation"]
        chosen = {"backend": self.backend, "serve": serving.serve(self, run, self.backend)}
        return {key: entry[key] for key in ("batch_size", "stop")} | chosen

    @cached_property
    def backend(self) -> str:
        return serving.backend(self)

    def choices(self) -> list[str]:
        return [f"answers:  {serving.choice(self, self.backend)}"]

    def begin(self, rules: set[str]) -> None:
        if "generate_math" in rules:
            serving.begin(self, self.backend)

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
        return 0 if rewound.split(wildcards.get("benchmark", ""))[0] == TEXT else super().shards(wildcards)

    def folder_of_shards(self, benchmark: str) -> str:
        _, strength = rewound.split(benchmark)
        return rewound.name("answers", strength) if strength else "answers"  # one job answers all benchmarks

    def own_benchmarks(self, run: dict) -> list[str]:
        return [TEXT] if self.settings.get(TEXT) else []

    def retention(self) -> dict | None:
        if not self.settings.get(TEXT):
            return None
        label = "loss on general text, nats per token"
        return {"benchmark": TEXT, "metric": "loss", "label": label, "better": "lower", "base": None}

    def general_text(self) -> tuple[str, str]:
        """Return the dataset and the split of the text on which the loss is computed."""
        dataset, split = self.settings[TEXT]["source"].split("/")
        return dataset, split

    def work(self, stage: str, wildcards: dict) -> float | None:
        if stage != "generate" or wildcards.get("dataset") not in self.datasets:
            return super().work(stage, wildcards)
        names = self.datasets[wildcards["dataset"]].get("benchmarks", {})
        rows = [super(Math, self).work(stage, wildcards | {"benchmark": name}) for name in names]
        trained = "method" not in wildcards or methods.of(self.config, wildcards["method"]).trains
        longer = 1 if trained else LONGER_ANSWERS
        return sum(rows) * longer if all(rows) else None

    def retention_benchmarks(self) -> dict[str, dict]:
        """Return the retention benchmarks to run, without those disabled by `unsafe_code: false`."""
        entries = self.settings["retention"]["benchmarks"]
        return {name: entry for name, entry in entries.items() if entry.get("unsafe_code") is not False}

    def retention_runs(self) -> list[dict]:
        """Return the runs of the retention table that are in the grid: `dataset`, `method`, `variant`, `seed`.

        None if the base, with which they are compared, is not in the grid.
        """
        entry, known = self.settings.get("retention"), self.runs()
        if not entry:
            return []
        asked = [
            {"dataset": entry["dataset"], "method": method, "variant": variant, "seed": seed}
            for method, variant in (run.split("/") for run in entry["runs"])
            for seed in entry["seeds"]
        ]
        found = [run for run in asked if run in known]
        return found if any(f"{run['method']}/{run['variant']}" == entry["base"] for run in found) else []

    def retention_rows(self) -> list[str]:
        """Return the rows of the retention table: `method/variant`."""
        return list(dict.fromkeys(f"{run['method']}/{run['variant']}" for run in self.retention_runs()))

    def retention_seeds(self) -> list[int]:
        return list(dict.fromkeys(run["seed"] for run in self.retention_runs()))

    def compared(self) -> list[str]:
        """Return the rows of Table 6, as far as they are in the grid."""
        known = grid.names(self.config, self.name) if self.settings else []
        return [run for run in (self.settings.get("compute") or {}).get("runs", []) if run in known]

    def without_answer_marker(self) -> list[str]:
        entries = {name: self.datasets[name] for name in grid.datasets(self.config, self.name)}
        return [
            name for name, entry in entries.items() if entry["answer"] != "metamath" and "strict" in entry["metrics"]
        ]

    def warnings(self) -> list[str]:
        counts = grid.seeds_expected(self.config, self.name).items()
        repeated = [(run, max(seeds.values())) for run, seeds in counts if not self.trains(run)]
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
                for table, rows in {"retention": self.retention_rows(), "compute": self.compared()}.items()
                if (missing := [run for run in (self.settings.get(table) or {}).get("runs", []) if run not in rows])
            ),
        ]

    def check_dataset(self, place: str, name: str) -> None:
        dataset = self.datasets[name]
        text, found = "text" in dataset["columns"], ", ".join(dataset["columns"])
        expect(
            set(dataset["columns"]) == ({"text"} if text else {"question", "answer"}),
            f"{place}.columns: expected question and answer, or text alone (general text), found {found}. Correct it",
        )
        for key in ("answer", "benchmarks"):
            expect(not text or key not in dataset, f"{place}: general text has no {key}. Remove it")
        expect(text or "answer" in dataset, f"{place}: expected `answer`, how its final answers are marked. Add it")
        if "benchmarks" in dataset:
            expect(
                TEXT not in dataset["benchmarks"],
                f"{place}.benchmarks: {TEXT} is the benchmark of tasks.{self.name}.{TEXT}. Choose another name",
            )
            one_of(f"{place}: splits", "split", "train", dataset["splits"])
            one_of(f"{place}: score", "metric", dataset["score"], dataset["metrics"])
        for benchmark, source in dataset.get("benchmarks", {}).items():
            other, split = source.split("/")
            asked = [entry for entry, values in self.datasets.items() if "answer" in values]
            one_of(f"{place}: benchmarks.{benchmark}", "dataset", other, asked)
            one_of(f"{place}: benchmarks.{benchmark}", "split", split, self.datasets[other]["splits"])

    def check_runs(self) -> None:
        place, runs = f"config: tasks.{self.name}", self.runs()
        trained, generation = {run["dataset"] for run in runs}, self.settings["generation"]
        for name in trained:
            for benchmark in self.datasets[name]["benchmarks"]:
                one_of(f"{place}.generation.max_new_tokens", "benchmark", benchmark, generation["max_new_tokens"])
        for key in generation["serve"] if isinstance(generation["serve"], dict) else ():
            one_of(f"{place}.generation.serve", "method or variant", key, grid.run_keys(self.config))
        for run in runs:
            name = f"{run['method']}/{run['variant']}"
            serving.check(self, run, f"{place}: {name}", self.backend)
            expect(
                methods.of(self.config, run["method"]).recomputes
                or self.hyperparameters(run["dataset"], name)["gradient_checkpointing"] is not True,
                f"{place}: {name} cannot be trained with gradient checkpointing, which drops its keys and values. Set "
                "gradient_checkpointing to auto or false in its preset",
            )
        compared, known = self.compared(), grid.every_run(self.config)
        expect(
            not compared or all(grid.runs_per_gpu(self.settings["resources"], run) == 1 for run in compared),
            f"{place}.resources: expected runs_per_gpu: 1, since table_compute reports times, which a shared GPU "
            "changes. Set it to 1",
        )
        for table in ("retention", "compute"):
            for run in (self.settings.get(table) or {}).get("runs", []):  # those that are not in the grid are skipped
                one_of(f"{place}.{table}.runs", "run", run, known)
        for name in sorted(trained):
            found = {f"{run['method']}/{run['variant']}" for run in runs if run["dataset"] == name}
            self.check_micro_batches(name, [run for run in compared if run in found])
        if self.settings.get("retention"):
            self.check_retention(f"{place}.retention")
        if self.settings.get(TEXT):
            name, split = self.general_text()
            texts = [entry for entry, values in self.datasets.items() if "text" in values["columns"]]
            one_of(f"{place}.{TEXT}.source", "dataset with a column text", name, texts)
            one_of(f"{place}.{TEXT}.source", "split", split, self.datasets[name]["splits"])

    def check_retention(self, place: str) -> None:
        entry = self.settings["retention"]
        one_of(f"{place}.dataset", "dataset", entry["dataset"], self.datasets)
        one_of(f"{place}.base", "run", entry["base"], entry["runs"])
        expect(
            self.retention_benchmarks(),
            f"{place}.benchmarks: all have `unsafe_code: false`, so none runs. Set one to true, or retention: null",
        )
        for run in self.retention_rows():
            expect(
                not methods.of(self.config, run.split("/")[0]).adapter.virtual,
                f"{place}.runs: {run} has virtual tokens, which lm-eval's generation does not support. Remove it",
            )

    def check_micro_batches(self, dataset: str, compared: list[str]) -> None:
        """Raise JobError unless a device processes the same number of rows at a time in all runs of `compute`."""
        settings = {run: self.hyperparameters(dataset, run) for run in compared if self.trains(run)}
        devices = {run: max(1, self.training_resources(run)["gpu"]) for run in settings}
        sizes = {
            run: one["batch_size"] // one["gradient_accumulation"] // devices[run] for run, one in settings.items()
        }
        equal = math.gcd(*sizes.values())
        remedies = [
            f"gradient_accumulation: {settings[run]['batch_size'] // devices[run] // equal} in "
            f"{grid.preset(self.config, self.name, run)}"
            for run in settings
            if sizes[run] != equal
        ]
        expect(
            not remedies,
            f"config: tasks.{self.name}.compute: expected equal micro-batches (batch_size / gradient_accumulation / "
            f"gpu) on {dataset}, found {', '.join(f'{run} {size}' for run, size in sizes.items())}. Make all of them "
            f"{equal} in presets.{self.name}: {'; '.join(dict.fromkeys(remedies))}",
        )

    def probe(self, dataset: str, rows: int, settings: dict) -> tuple[dict[str, dict], dict]:
        entry, generation = self.datasets[dataset], self.settings["generation"]
        longest = max(entry["benchmarks"], key=lambda name: generation["max_new_tokens"][name])
        length = {"length": settings["max_length"], "typical": entry.get("tokens")}

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
            | {"benchmarks": {longest: "preflight-test/test"}, "metrics": entry["metrics"], "score": entry["score"]},
            "preflight-test": answered(test=generation["batch_size"]),
        }, {"generation": generation | {"shards": 1, "backend": "transformers"}}


TASK = Math
