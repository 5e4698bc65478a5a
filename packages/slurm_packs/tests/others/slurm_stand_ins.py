"""What the Slurm plugin's tests import instead of its executor: this project's, made as those tests make theirs."""

import threading
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Optional

from snakemake_interface_common.plugin_registry.tests import TestRegistryBase
from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

import snakemake_executor_plugin_slurm_packs as slurm_packs
from snakemake_executor_plugin_slurm_packs import packs


@dataclass
class ExecutorSettings(slurm_packs.ExecutorSettings):
    """Settings for a Slurm without an accounting database: the default, sacct, never returns a state."""

    status_command: Optional[str] = "squeue"  # noqa: UP045


class Executor(slurm_packs.Executor):
    """The executor for tests that call `Executor.__new__`, replace its methods and set the base class's attributes."""

    def __new__(cls):
        self = super().__new__(cls)
        own = {
            "waiting": [],
            "taken": {},
            "to_come": set(),
            "reported": set(),
            "changing": threading.RLock(),
            "timer": None,
        }
        vars(self).update(own, leftovers=SimpleNamespace(folder=None), command_prefix="")
        return self

    def __setattr__(self, name: str, value) -> None:
        # The mock of a method that this class extends: record the end of a job as the method would.
        if name in ("report_job_success", "report_job_error"):
            value.side_effect = lambda info, *_, **__: self.reported.add(id(info))
        super().__setattr__(name, value)

    def run_jobs(self, jobs: list) -> None:
        self.rules_of_arrays, self.array_jobs = self.array_jobs, set()  # as in __init__
        stated = vars(self.workflow.executor_settings)
        self.workflow.executor_settings = SimpleNamespace(**(vars(slurm_packs.ExecutorSettings()) | stated))
        super().run_jobs(jobs)

    def submit_array(self, submissions: list[packs.Submission]) -> None:
        """Record the array for the test as the base class does: its scripts are tested on Slurm."""
        for submission in submissions:
            self.run_job_pre(submission)
        self._job_submission_executor.submit(self.run_array_jobs, [submission.jobs[0] for submission in submissions])


class TestRegistry(TestRegistryBase):
    """The interface's tests of a plugin's options, without the other installed plugins, whose prefixes differ."""

    __test__ = True

    def get_registry(self) -> ExecutorPluginRegistry:
        registry = object.__new__(ExecutorPluginRegistry)
        registry.collect_plugins()
        registry.plugins = {name: registry.plugins[name] for name in [self.get_test_plugin_name()]}
        return registry

    def get_test_plugin_name(self) -> str:
        return "slurm-packs"

    def validate_plugin(self, plugin) -> None:
        assert plugin.executor is slurm_packs.Executor

    def validate_settings(self, settings, plugin) -> None:
        assert isinstance(settings, plugin.settings_cls) and settings.replicates == "seed"

    def get_example_args(self) -> list[str]:
        return ["--slurm-packs-replicates", "seed"]
