"""Snakemake's executor for Slurm, with four additions.

Packs: several jobs are one Slurm job (packs.py, run_pack.py). With the resource `jobs_per_gpu` above 1 they share a GPU
at the same time, with `jobs_per_allocation` they run one after the other (issue 458 of the base class's project). For
Snakemake they remain separate jobs: each finishes or fails when its process ends, and only failed ones are retried.
Snakemake's groups do not do that: a failed job fails its group, and the retry starts all of its jobs with --force,
which deletes the finished outputs of the others.

Leftover jobs: jobs that a dead Snakemake left in the queue are taken over, or, if anything that they were started with
has changed, cancelled before the same outputs are submitted again (leftovers.py).

Arrays: with `array_jobs`, jobs of a rule that become ready together with equal requests are one job array. The base
class waits until all ready jobs of the rule arrive in one call, and forgets those that have arrived before (its issue
473); it runs each task within the Snakemake of the first task's job, so a task fails if the first one outlasts it by
`latency-wait`.

Silence: while squeue or sacct does not respond, for example because the controller restarts, jobs remain active. The
base class forgets them after `status_attempts` failures, and Snakemake waits indefinitely.
"""

import shlex
import shutil
import sys
import threading
import uuid
from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path

from snakemake_executor_plugin_slurm import Executor as SlurmExecutor
from snakemake_executor_plugin_slurm import common_settings
from snakemake_executor_plugin_slurm.job_status_query import get_min_job_age, should_recommend_squeue_status_command
from snakemake_executor_plugin_slurm.utils import get_job_wildcards
from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

from snakemake_executor_plugin_slurm_packs import packs
from snakemake_executor_plugin_slurm_packs.leftovers import Leftovers, digest
from snakemake_executor_plugin_slurm_packs.settings import ExecutorSettings

__all__ = ["Executor", "ExecutorSettings", "common_settings"]

UNPACK = Path(__file__).with_name("unpack_environment.sh")
RUN_PACK = Path(__file__).with_name("run_pack.py")
# Incomplete packs are submitted when no job has arrived during this many times the time until the first status check.
QUIET = 3


class Executor(SlurmExecutor):
    def __init__(self, workflow, logger):
        # Before the base class, whose thread immediately requests the status of jobs.
        self.waiting: list = []  # jobs of packs, until there are enough for one
        self.to_come: set | None = None  # needed jobs of packs that have not arrived; None: no job has arrived
        self.reported: set[int] = set()  # id() of the jobs whose end was reported since the last status check
        self.taken: dict[str, SubmittedJobInfo] = {}  # taken over, by output, until Snakemake starts the job
        self.checked: list = []  # jobs of the last status check, during which the base class has no active ones
        self.changing, self.timer = threading.RLock(), None
        super().__init__(workflow, logger)
        self.leftovers = Leftovers(self.run_uuid)
        settings, self.command_prefix = workflow.executor_settings, ""
        # Otherwise, the base class increases the memory of arrays: to 1 MB if the jobs request none.
        settings.disable_memory_fudge = True
        # The rules whose jobs become tasks of arrays here, instead of in the base class.
        self.rules_of_arrays, self.array_jobs = self.array_jobs, set()
        self.quiet = QUIET * settings.init_seconds_before_status_checks  # below it, the base class does not use squeue
        squeue = settings.status_command == "squeue" and should_recommend_squeue_status_command(self.quiet)
        if self.rules_of_arrays and not squeue:
            raise WorkflowError(
                "Job arrays need squeue, since sacct's state of an array's last task counts for all: expected "
                f"`slurm-packs-status-command: squeue` and a MinJobAge of {self.quiet} s or more (scontrol show "
                f"config), found {settings.status_command} and {get_min_job_age()} s. Submit without arrays here."
            )

    def run_jobs(self, jobs: list) -> None:
        if self.to_come is None:
            remote = [job for job in self.dag.needrun_jobs() if not job.is_local]
            for job in remote:
                packs.check(job)
            self.to_come = {job for job in remote if packs.is_packed(job) and not job.group}
            self.settle_leftovers({*jobs, *self.dag.ready_jobs})
        jobs = [job for job in jobs if not (self.taken and self.is_taken_over(job))]
        self.submit([[job] for job in jobs if not packs.is_packed(job)])
        with self.changing:
            self.to_come -= set(jobs)
            self.waiting += filter(packs.is_packed, jobs)
            self.submit_packs(quiet=False)

    def settle_leftovers(self, ready: set) -> None:
        """Take over the jobs of a dead Snakemake that are as this one would submit them now, and cancel the others."""
        needed = {str(path): job for job in self.dag.needrun_jobs() for path in job.output}
        for info in self.leftovers.settle(needed, lambda job: self.digest(job) if job in ready else None, self.logger):
            self.taken[str(info.job.output[0])] = info
            self.to_come.discard(info.job)
        self.run_uuid = self.leftovers.folder.name
        with self.lock:
            self.active_jobs += self.taken.values()
        if archive := self.workflow.executor_settings.environment:
            # Copied to the shared file system, since this package may be in the archive. Once: jobs cannot execute a
            # script while it is being written.
            script = self.leftovers.folder.absolute() / UNPACK.name
            if not script.exists():
                shutil.copy(UNPACK, script)
            self.command_prefix = f"{shlex.join([str(script), str(archive), sys.prefix])} && "

    def digest(self, job) -> str:
        """Return a digest of what a job is started with; empty for a group."""
        return "" if job.is_group() else digest(job, super().format_job_exec(job), self.workflow)

    def is_taken_over(self, job) -> bool:
        """Return whether a job is taken over, which is then reported as submitted: Snakemake starts it."""
        with self.changing:
            info = self.taken.pop(next(map(str, job.output), ""), None)
        if info:
            info.job = job  # Snakemake may have replaced it
            self.run_job_pre(job)
            self.logger.info(f"Job {job.jobid} is SLURM job {info.external_jobid} (log: {info.aux['slurm_logfile']}).")
            # The base class would add it to the active jobs, of which it has been one since it was taken over.
            super(RemoteExecutor, self).report_job_submission(info, register_job=False)
            if report := info.aux.pop("report", None):
                report()
        return bool(info)

    def report(self, info: SubmittedJobInfo, report) -> None:
        """Report the end of a job; if it is taken over and Snakemake has not started it yet, when it does."""
        with self.changing:
            if any(info is one for one in self.taken.values()):
                info.aux["report"] = report
                return
        report()

    def submit(self, packed: list[list]) -> None:
        settings, alike = self.workflow.executor_settings, {}
        for jobs in packed:
            submission = packs.Submission(jobs, settings, self.leftovers.folder)
            tasks = {"all", jobs[0].name} & self.rules_of_arrays and len(jobs) == 1 and not jobs[0].is_group()
            alike.setdefault(packs.request(submission) if tasks else id(submission), []).append(submission)
        for submissions in alike.values():
            for some in packs.chunks(submissions, self.max_array_size):
                if len(some) > 1:
                    self.submit_array(some)
                else:
                    super().run_jobs(some)

    def run_pool_jobs(self, jobs: list) -> None:
        """Submit jobs as one Slurm job. The docstring of the base class's `run_jobs` reserves this name."""
        self.submit([jobs])

    def submit_array(self, submissions: list) -> None:
        """Submit jobs as tasks of one array: Slurm runs one script for all, which starts the task's script."""
        script = self.leftovers.folder.absolute() / f"array-{uuid.uuid4().hex[:12]}.sh"
        script.write_text('exec sh "$0.$SLURM_ARRAY_TASK_ID"\n')
        for number, submission in enumerate(submissions, start=1):
            Path(f"{script}.{number}").write_text(f"{super().format_job_exec(submission.jobs[0])}\n")
            submission.array = script
            self.run_job_pre(submission)
        self.run_array_jobs(submissions)

    def submit_packs(self, quiet: bool) -> None:
        """Submit full packs; if they share a GPU, of replicates only, unless no job has arrived for a while (`quiet`).

        Then submit incomplete packs, too, except those that jobs of their rule which have not arrived can complete.
        """
        minutes = self.workflow.executor_settings.allocation_minutes
        with self.changing:
            if self.timer:
                self.timer.cancel()
            for pack in packs.distribute(self.waiting, self.replicate, minutes):
                full = packs.is_full(pack, minutes)
                alike = packs.in_series(pack[0]) or len(set(map(self.replicate, pack))) == 1
                rules = {job.rule.name for job in self.to_come if self.active_jobs or self.checked}
                if (full and (alike or quiet)) or (quiet and pack[0].rule.name not in rules):
                    submitted = set(map(id, pack))
                    self.waiting = [job for job in self.waiting if id(job) not in submitted]
                    self.run_pool_jobs(pack)
            if self.waiting:
                self.timer = threading.Timer(self.quiet, self.submit_packs_or_stop)
                self.timer.daemon = True
                self.timer.start()

    def submit_packs_or_stop(self) -> None:
        try:
            self.submit_packs(quiet=True)
        except Exception as problem:  # in the timer's thread, which nothing else reports
            self.workflow.scheduler.executor_error_callback(problem)

    def replicate(self, job) -> tuple:
        """Return a key that is equal for the replicates of a job."""
        names = (self.workflow.executor_settings.replicates or "").replace(" ", "").split(",")
        return tuple(value for name, value in job.wildcards_dict.items() if name not in names)

    def format_job_exec(self, job) -> str:
        if not isinstance(job, packs.Submission):
            return super().format_job_exec(job)
        if job.array:
            command = shlex.join(["exec", "sh", str(job.array)])
        elif len(job.jobs) == 1:
            command = super().format_job_exec(job.jobs[0])
        else:
            job.write([self.member(one) for one in job.jobs])
            options = ["--mps"] * (self.workflow.executor_settings.mps and job.at_once > 1)
            command = shlex.join([self.get_python_executable(), str(RUN_PACK), str(job.folder), *options])
            factory = self.workflow.spawned_job_args_factory
            if first := factory.precommand(executor_common_settings=self.common_settings):
                command = f"{first} && {command}"
        return f"{self.command_prefix}{command}"

    def member(self, job) -> dict:
        """Return the data with which run_pack.py starts a job: its command, without the base class's job step."""
        log = self.log_of(job)
        log.parent.mkdir(parents=True, exist_ok=True)
        return {
            "command": super().format_job_exec(job).replace(self.additional_general_args(), ""),
            "cpus": packs.cpus(job),
            "minutes": packs.in_series(job) and packs.runtime(job),
            "mem_mb": job.resources.get("mem_mb"),
            "gpu": job.resources.get("gpu"),
            "log": str(log),
        }

    def log_of(self, job) -> Path:
        """Return the path of a job's output, as in the base class. `%j`: the number of the Slurm job."""
        return self.slurm_logdir.absolute() / f"rule_{job.name}" / get_job_wildcards(job) / "%j.log"

    # Snakemake expects its jobs, not submissions.

    def jobs_of(self, info: SubmittedJobInfo) -> list[SubmittedJobInfo]:
        if not isinstance(info.job, packs.Submission):
            return [info]
        if len(info.job.jobs) == 1:
            log = (info.aux or {}).get("slurm_logfile")
            # Slurm has one pattern for the logs of an array, without the wildcards of a task.
            aux = {"slurm_logfile": log.parent.parent / log.name} if log and info.job.array else info.aux
            return [SubmittedJobInfo(info.job.jobs[0], info.external_jobid, aux)]
        number = str(info.external_jobid)
        return [
            SubmittedJobInfo(
                job,
                info.external_jobid,
                {"slurm_logfile": self.log_of(job).with_name(f"{number}.log"), "end": info.job.end_of(index)},
            )
            for index, job in enumerate(info.job.jobs)
        ]

    def report_job_submission(self, job_info, register_job: bool = True) -> None:
        infos = self.jobs_of(job_info)
        in_array = "_" in str(job_info.external_jobid)
        self.leftovers.submitted(infos, ["" if in_array else self.digest(info.job) for info in infos])
        for info in infos:
            super().report_job_submission(info, register_job=register_job)

    def report_job_success(self, job_info) -> None:
        self.reported.add(id(job_info))
        self.report(job_info, partial(super().report_job_success, job_info))

    def report_job_error(self, job_info, msg=None, **keywords) -> None:
        if not job_info.external_jobid and self.submit_again(job_info.job, msg):
            return
        self.reported.add(id(job_info))
        for info in self.jobs_of(job_info):
            if packs.exit_status(info.aux) == 0:  # Slurm reports the pack
                self.report_job_success(info)
            else:
                self.report(info, partial(super().report_job_error, info, msg, **keywords))

    def submit_again(self, submission, reason: str | None) -> bool:
        """Submit a job, but not an array, whose submission has failed once more after a pause, if it has one left."""
        if submission.array or submission.attempt > 1 or not submission.pauses:
            return False
        seconds, *submission.pauses = submission.pauses
        self.logger.warning(f"{submission.name} is submitted again in {seconds} s. {reason}")
        timer = threading.Timer(seconds, super().run_jobs, [[submission]])
        timer.daemon = True
        timer.start()
        return True

    async def check_active_jobs(self, active_jobs: list) -> AsyncGenerator:
        self.reported.clear()
        self.checked, left = active_jobs, []
        for info in active_jobs:
            status = packs.exit_status(info.aux)
            if status is None:
                left.append(info)
            elif status == 0:
                self.report_job_success(info)
            else:
                log = str(info.aux["slurm_logfile"])
                self.report_job_error(info, f"A job of SLURM-job {info.external_jobid} failed.", aux_logs=[log])
        active = {id(info) async for info in super().check_active_jobs(left)}
        if len(left) < len(active_jobs):  # the base class waits longer each time no Slurm job has ended
            settings = self.workflow.executor_settings
            self.next_seconds_between_status_checks = settings.init_seconds_before_status_checks
        self.checked = [info for info in left if id(info) in active or id(info) not in self.reported]
        for info in self.checked:
            yield info

    def cancel(self) -> None:
        with self.changing:
            self.waiting = []
        super().cancel()
