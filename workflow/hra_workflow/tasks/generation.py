"""The generated outputs of a task's runs, for the rules of generation and a dry run."""

import math
from collections.abc import Iterable

from hra_workflow.tasks.part import Part

SHARD_SECONDS = 2 * 3600  # seconds of generation per job, whose start takes a minute


class Generation(Part):
    """The generation of a task's outputs. By default there are none."""

    def shards(self, wildcards: dict) -> int:
        """Return the number of jobs that generate a run's outputs for a benchmark; 0 if the task generates nothing."""
        number = self.settings.get("generation", {}).get("shards", 0)
        if number != "auto":
            return number
        return self.shards_by_work(self.task.cost.work("generate", wildcards | {"n_shards": 1}))

    def folder_of_shards(self, benchmark: str) -> str:
        """Return the folder, within a run's folder, of the shards with the outputs for a benchmark."""
        return benchmark

    def choices(self) -> Iterable[str]:
        """List the choices that the config leaves to this machine, as `name:  text`, for the dry run."""
        return ()

    def begin(self, rules: set[str]) -> None:
        """Record choices before jobs of these rules start; raise JobError if one of them is impossible here."""

    # Equal for all tasks

    def shards_by_work(self, work: float | None) -> int:
        """Return the number of jobs of SHARD_SECONDS each at the config's speed; 1 if work or speed is unknown."""
        speed = self.settings["generation"]["resources"].get("rows_per_second")
        return max(1, math.ceil(work / speed / SHARD_SECONDS)) if work and speed else 1

    def in_one_shard(self) -> bool:
        """Return whether one job generates all outputs of a run, so that they need not be merged."""
        return all(
            self.shards(run | {"benchmark": benchmark}) == 1
            for run in self.task.runs()
            for benchmark in self.task.data.entry(run["dataset"])["benchmarks"]
        )
