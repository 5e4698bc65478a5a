"""Errors in the user's data are not retried: another attempt would fail in the same way.

`retries` is one number per rule or profile in Snakemake. So the script leaves a mark (core/job.py), which lowers the
number for its job; on a cluster too, where only the exit status arrives otherwise.
"""

from hra_workflow.core.job import final_mark


def not_retried(workflow) -> None:
    """Let Snakemake take `retries` of a job with a mark as 0. A cluster job's own process leaves the mark."""
    from snakemake.jobs import Job

    stated = Job.restart_times.fget

    def restart_times(job) -> int:
        mark = final_mark(str(job.log[0])) if job.log else None
        if not mark or not mark.exists():
            return stated(job)
        if workflow.is_main_process:
            mark.unlink()
        return 0

    Job.restart_times = property(restart_times)
