"""What the runs of a task are evaluated on: their dataset's benchmarks, retention, and both with rewound weights.

And what they are compared with.

Retention is what is left of the base model: a benchmark of the task itself, the same for all datasets. Rewound weights
lie between the base model and what was trained; their benchmarks are named `gsm8k@0.5` (core/rewound.py).

Plain Python on plain dicts: imported by the Snakefile on login nodes, so no torch and no pandas here.
"""

from collections.abc import Mapping
from typing import ClassVar

from hra_workflow import methods, rewinding
from hra_workflow.core import grid, rewound, tuning
from hra_workflow.core.errors import expect, one_of
from hra_workflow.evaluators import registry

DRIFT = "drift"  # the key of the config, and the benchmark


class Evaluations:
    """The part of `base.Task` that lists evaluations; it uses the rest of it.

    keeps_head: whether a randomly initialised head is trained too. It stays as it is, since the base model has none.
    drift_sampler: for tasks that generate images, `module:class` that generates those of the class prompts.
    """

    keeps_head: ClassVar[bool] = False
    drift_sampler: ClassVar[str]

    def evaluated(self, run: dict) -> list[str]:
        """Return the benchmarks of a run (`dataset`, `method`, `variant`, …)."""
        names = [*self.dataset(run["dataset"])["benchmarks"], *self.own_benchmarks(run)]
        return names + [rewound.name(name, strength) for strength in self.strengths(run) for name in names]

    def trained_on(self, dataset: str, run: str) -> dict:
        """Return what training on a labelled dataset depends on, with the split that selects the best checkpoint."""
        entry, benchmarks = self.dataset(dataset), self.evaluation_in_training(dataset, run)["benchmarks"]
        return {key: entry[key] for key in ("columns", "labels", "score")} | {
            "split": next(iter(benchmarks.values()), None)
        }

    def evaluation_in_training(self, dataset: str, run: str) -> dict:
        """Return the benchmarks and metrics that a training job computes too; a trial is not evaluated."""
        entry = self.dataset(dataset)
        return {"benchmarks": {} if tuning.MARK in run else entry["benchmarks"], "metrics": entry["metrics"]}

    def evaluated_on(self, dataset: str, benchmark: str) -> dict:
        """Return what the scores of given weights depend on, for a benchmark that is a split of a labelled dataset."""
        entry, (name, _) = self.dataset(dataset), rewound.split(benchmark)
        return {key: entry[key] for key in ("columns", "labels", "metrics", "score")} | {
            "split": entry["benchmarks"][name]
        }

    def evaluated_in_training(self, wildcards: Mapping[str, str]) -> bool:
        """Return whether the training job evaluates a run on a benchmark, so that an evaluation only takes it over."""
        return False

    def evaluation_resources(self, wildcards: Mapping[str, str]) -> dict:
        """Return the resources of an evaluation; for images, without GPUs if all evaluators compute on the CPU."""
        stated = self.resources("evaluate", "evaluate")
        if not self.reference_images:
            return stated
        evaluators = self.evaluators(wildcards["dataset"])
        used = "device" in stated or any(registry.find(one["kind"]).needs.gpu for one in evaluators)
        return stated if used else stated | {"gpu": 0}

    def own_benchmarks(self, run: dict) -> list[str]:
        """Return the benchmarks of retention that a run is evaluated on: none if it leaves the base model as it is."""
        entry = methods.of(self.config, run["method"])
        changed = entry.adapter.config or entry.base != "none"
        return [DRIFT] if self.settings.get(DRIFT) and changed else []

    def retention(self) -> dict | None:
        """Return what the figure shows as retention, or None.

        `benchmark`, `metric` and `label`; `better`, lower or higher; `base`, the base model's value if it has no row.
        """
        if not self.settings.get(DRIFT):
            return None
        entry = self.settings[DRIFT]["evaluators"][0]
        same = registry.find(entry["kind"]).identical
        wanted = "higher" if same else "lower"
        what = f"{entry['name']}, images of class prompts against the base model's"
        return {"benchmark": DRIFT, "metric": entry["name"], "label": what, "better": wanted, "base": same}

    def is_base(self, run: str) -> bool:
        """Return whether `method/variant` is the base model."""
        entry = methods.of(self.config, run.split("/")[0])
        return not entry.trains and not entry.real_images

    def verdicts(self) -> dict:
        """Return what the sentences on differences depend on: `columns`, `reference`, and the trained `baselines`."""
        runs = [run for run in grid.names(self.config, self.name) if self.trains(run)]
        baselines = [run for run in runs if methods.of(self.config, run.split("/")[0]).baseline]
        shown = self.settings["figures"]["parameters"]
        return {"columns": shown, "reference": self.settings.get("reference"), "baselines": baselines}

    def is_drift(self, wildcards: dict) -> bool:
        """Return whether a job generates or evaluates images of class prompts; the base model's have no benchmark."""
        return bool(self.settings.get(DRIFT)) and rewound.split(wildcards.get("benchmark", DRIFT))[0] == DRIFT

    def drift_images(self) -> int:
        """Return the number of images of class prompts that a model generates."""
        return self.settings[DRIFT]["prompts"] * self.settings[DRIFT]["images"]

    def drift_sampling(self) -> dict:
        """Return the settings that the images of class prompts depend on; a blocked image would have no distance."""
        return self.sampling() | {"images": self.settings[DRIFT]["images"], "safety_checker": False}

    def drift_prompts(self, dataset: str) -> list[str] | None:
        """Return the class prompts of a dataset; None: its data contain them."""
        return None

    def drift_models(self) -> list[str]:
        """Return the models that the evaluators of drift need."""
        return registry.models(self.settings[DRIFT]["evaluators"])

    def check_drift(self) -> None:
        """Raise JobError if an evaluator does not compare an image with a reference image, or lacks its model."""
        for entry in (self.settings.get(DRIFT) or {}).get("evaluators", ()):
            place = f"config: tasks.{self.name}.{DRIFT}.evaluators: {entry['name']}"
            registry.check(place, entry, "references")
            expect(
                registry.find(entry["kind"]).needs.images == "references",
                f"{place}: kind {entry['kind']} does not compare two images. Use dino, clip or one of LPIPS",
            )
            if "model" in entry:
                one_of(place, "model", entry["model"], self.config["models"])

    def benchmarks(self) -> set[str]:
        """Return the names of all benchmarks."""
        own = {name for entry in self.datasets for name in self.dataset(entry).get("benchmarks", {})}
        return own | {name for run in self.runs() for name in self.evaluated(run)}

    def strengths(self, run: dict) -> list[float]:
        """Return the strengths below 1 at which a run is evaluated too."""
        stated = self.settings.get("rewind", [])
        return stated if stated and not self.not_rewound(run) else []

    def not_rewound(self, run: dict) -> str | None:
        """Return why the weights of a run cannot be rewound, or None."""
        kind, entry = grid.kind_of(self.config["methods"][run["method"]]), methods.of(self.config, run["method"])
        if entry.rewind is None:
            return f"nothing rewinds {kind}" if entry.trains else "it trains nothing"
        if self.keeps_head and not entry.adapter.config:
            return "its head and the base model were trained together"
        return rewinding.fault(entry.rewind, self.config["methods"][run["method"]]["variants"][run["variant"]])

    def rewinding_notes(self) -> list[str]:
        """Describe the runs that `rewind` leaves out, for the dry run."""
        reasons: dict[str, list[str]] = {}
        for run in self.runs() if self.settings.get("rewind") else ():
            if reason := self.not_rewound(run):
                reasons.setdefault(reason, []).append(f"{run['method']}/{run['variant']}")
        return [f"not rewound: {', '.join(dict.fromkeys(runs))} ({reason})" for reason, runs in reasons.items()]
