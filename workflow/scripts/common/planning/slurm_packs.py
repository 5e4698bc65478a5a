"""Training runs that share a GPU, as one Slurm job: a pack.

To Snakemake, the runs stay jobs of their own: each is done or fails when its process ends (run_packed.py), and only a
failed one is retried. Snakemake's groups do not do that: a failed job fails its group, and the retry starts all of its
jobs with --force, which deletes what the others have finished. Nor does a rule for several runs: it loses the outputs
of all if one fails, and all run again if the hyper-parameters of one change.
"""

import contextlib
import os
import shlex
import threading
import uuid
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path

from snakemake.iocontainers import ResourceList
from snakemake_executor_plugin_slurm import Executor, SubmittedJobInfo
from snakemake_executor_plugin_slurm.utils import get_job_wildcards

from common.core import files
from common.planning import packs

SCRIPT = Path(__file__).parents[2] / "run_packed.py"
# Incomplete packs are submitted when no run has arrived during this many times the time until the first status check.
QUIET = 3
TAKEN = ".taken"


def install(workflow) -> None:
    """Let the executor, which has not submitted anything yet, submit packs."""
    executor = workflow.scheduler._executor
    executor.__class__ = PackingExecutor
    executor.waiting, executor.changing, executor.timer = [], threading.RLock(), None
    executor.to_come = {one for one in workflow.dag.needrun_jobs() if shares(one)}


def shares(job) -> bool:
    if job.is_group() or "runs_per_gpu" not in job.rule.resources:
        return False
    return int(job.resources.get("runs_per_gpu", 1)) > 1


class Pack:
    """Several jobs as the plugin sees them: the first one's properties, with the cores and the memory of all."""

    name = packs.NAME

    def __init__(self, jobs: list):
        self.jobs, self.wildcards = jobs, [uuid.uuid4().hex[:12]]
        self.threads = sum(job.threads for job in jobs)
        self.folder = packs.FOLDER.absolute() / self.wildcards[0]
        resources = dict(jobs[0].resources.items())
        for name in {"mem_mb", "cpus_per_task", "cpus_per_gpu"} & set(resources):
            resources[name] = sum(job.resources[name] for job in jobs)
        self.resources = ResourceList(fromdict=resources)

    def is_group(self) -> bool:
        return False

    def __getattr__(self, name):
        return getattr(self.jobs[0], name)


class PackingExecutor(Executor):
    """snakemake-executor-plugin-slurm, except that jobs with `runs_per_gpu` above 1 wait until they fill a pack.

    waiting: those jobs. to_come: needed jobs that have not arrived. Attributes are set by `install`.
    """

    def run_jobs(self, jobs: list) -> None:
        alone = []
        for job in jobs:
            (self.waiting if shares(job) else alone).append(job)
            self.to_come.discard(job)
        super().run_jobs(alone)
        self.submit_packs(quiet=False)

    def submit_packs(self, quiet: bool) -> None:
        """Submit full packs of seeds; if no run has arrived for a while (`quiet`), all packs except a last one that
        runs still to come can fill."""
        with self.changing:
            if self.timer:
                self.timer.cancel()
            for pack in packs_of(self.waiting):
                full = len(pack) == pack[0].resources.runs_per_gpu
                seeds = len({run_of(job) for job in pack}) == 1
                if (full and (seeds or quiet)) or (quiet and not (self.to_come and self.active_jobs)):
                    self.waiting = [job for job in self.waiting if job not in pack]
                    for job in pack:
                        self.run_job_pre(job)
                    self._job_submission_executor.submit(self.run_job, Pack(pack))
            if self.waiting:
                seconds = QUIET * self.workflow.executor_settings.init_seconds_before_status_checks
                self.timer = threading.Timer(seconds, self.submit_packs_or_stop)
                self.timer.daemon = True
                self.timer.start()

    def submit_packs_or_stop(self) -> None:
        try:
            self.submit_packs(quiet=True)
        except Exception as problem:  # in a thread of its own, from which nobody else hears of it
            self.workflow.scheduler.executor_error_callback(problem)

    def format_job_exec(self, job) -> str:
        if not isinstance(job, Pack):
            return super().format_job_exec(job)
        files.write_json(job.folder / "pack.json", {"runs": [self.described(one) for one in job.jobs]})
        first = self.workflow.spawned_job_args_factory.precommand(executor_common_settings=self.common_settings)
        run_packed = shlex.join([self.get_python_executable(), str(SCRIPT), str(job.folder)])
        return f"{first} && {run_packed}" if first else run_packed

    def described(self, job) -> dict:
        """Return what run_packed.py needs to start a job, without the job step that the plugin adds, and its name."""
        log = self.log(job)
        log.parent.mkdir(parents=True, exist_ok=True)
        return {
            "comment": packs.comment(job.rule.name, job.wildcards),
            "command": super().format_job_exec(job).replace(self.additional_general_args(), ""),
            "threads": job.threads,
            "mem_mb": job.resources.get("mem_mb"),
            "gpu": job.resources.get("gpu"),
            "log": str(log),
        }

    # Reports about a pack are reports about each of its jobs.

    def report_job_submission(self, job_info, register_job: bool = True) -> None:
        for one in self.single(job_info):
            super().report_job_submission(one, register_job=register_job)

    def report_job_error(self, job_info, msg=None, **keywords) -> None:
        for one in self.single(job_info):
            if exit_status(one) == 0:  # Slurm reports the pack
                self.report_job_success(one)
            else:
                super().report_job_error(one, msg, **keywords)

    def single(self, info: SubmittedJobInfo) -> list[SubmittedJobInfo]:
        if not isinstance(info.job, Pack):
            return [info]
        number = str(info.external_jobid)
        return [
            SubmittedJobInfo(
                job,
                info.external_jobid,
                {
                    "slurm_logfile": self.log(job).with_name(f"{number}.log"),
                    "ended": info.job.folder / f"{index}.ended",
                },
            )
            for index, job in enumerate(info.job.jobs)
        ]

    def log(self, job) -> Path:
        """Return the file of a job's output, as the plugin names it; `%j` stands for the number of the Slurm job."""
        return self.slurm_logdir.absolute() / f"rule_{job.name}" / get_job_wildcards(job) / "%j.log"

    async def check_active_jobs(self, active_jobs: list) -> AsyncGenerator:
        left = []
        for info in active_jobs:
            status = exit_status(info)
            if status is None:
                left.append(info)
            elif status == 0:
                self.report_job_success(info)
            else:
                log = str(info.aux["slurm_logfile"])
                super().report_job_error(info, f"A run of SLURM-job {info.external_jobid} failed.", aux_logs=[log])
        async for info in super().check_active_jobs(left):
            yield info

    def cancel(self) -> None:
        with self.changing:
            self.waiting = []
        super().cancel()


def packs_of(waiting: Iterable) -> list[list]:
    """Distribute jobs over packs of one rule, whose jobs request the same resources."""
    by_rule: dict[str, list] = {}
    for job in waiting:
        by_rule.setdefault(job.rule.name, []).append(job)
    return [pack for jobs in by_rule.values() for pack in packs.of(jobs, jobs[0].resources.runs_per_gpu, run_of)]


def run_of(job) -> tuple:
    return packs.but_seed(job.wildcards_dict)


def exit_status(info: SubmittedJobInfo) -> int | None:
    """Return the exit status of a packed job that has ended and is not yet reported; None of any other.

    The renamed file tells a requeued pack not to run the job again.
    """
    path = (info.aux or {}).get("ended")
    if not path:
        return None
    with contextlib.suppress(FileNotFoundError):
        os.listdir(path.parent)  # NFS caches that a file is missing
        path.rename(taken := path.with_suffix(TAKEN))
        return int(taken.read_text())
    return None
