"""What the runs of a task are evaluated on: their dataset's benchmarks, retention, and both with rewound weights.

Retention is what is left of the base model: a benchmark of the task itself, the same for all datasets. Rewound weights
lie between the base model and what was trained; their benchmarks are named `gsm8k@0.5` (core/rewound.py).

Plain Python on plain dicts: imported by the Snakefile on login nodes, so no torch and no pandas here.
"""

from typing import ClassVar

from common import methods, rewinding
from common.core import grid, rewound


class Evaluations:
    """The part of `base.Task` that lists evaluations; it uses the rest of it.

    keeps_head: whether a randomly initialised head is trained too. It stays as it is, since the base model has none.
    """

    keeps_head: ClassVar[bool] = False

    def evaluated(self, run: dict) -> list[str]:
        """Return the benchmarks of a run (`dataset`, `method`, `variant`, …)."""
        names = [*self.dataset(run["dataset"])["benchmarks"], *self.own_benchmarks(run)]
        return names + [rewound.name(name, strength) for strength in self.strengths(run) for name in names]

    def own_benchmarks(self, run: dict) -> list[str]:
        """Return the benchmarks of retention that a run is evaluated on."""
        return []

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
        if self.keeps_head and not entry.peft_config:
            return "its head and the base model were trained together"
        return rewinding.fault(entry.rewind, self.config["methods"][run["method"]]["variants"][run["variant"]])

    def rewinding_notes(self) -> list[str]:
        """Describe the runs that `rewind` leaves out, for the dry run."""
        reasons: dict[str, list[str]] = {}
        for run in self.runs() if self.settings.get("rewind") else ():
            if reason := self.not_rewound(run):
                reasons.setdefault(reason, []).append(f"{run['method']}/{run['variant']}")
        return [f"not rewound: {', '.join(dict.fromkeys(runs))} ({reason})" for reason, runs in reasons.items()]
