"""The lines of finished jobs, where there is no progress bar."""

import logging
from types import SimpleNamespace

from snakemake_interface_logger_plugins.common import LogEvent

from hra_workflow.snakemake_bridge import job_events
from support import paper_config


def test_a_finished_job_is_a_line(here, monkeypatch, capsys):
    handlers = []
    monkeypatch.setattr(job_events, "logger", SimpleNamespace(addHandler=handlers.append))
    workflow = SimpleNamespace(output_settings=SimpleNamespace(log_handler_settings={"rich": None}))
    job_events.record(workflow, paper_config() | {"preflight": None})
    (recorder,) = handlers
    wildcards = {"method": "hra", "variant": "r8"}
    for facts in (
        {"event": LogEvent.JOB_INFO, "jobid": 1, "rule_name": "train_subject", "wildcards": wildcards},
        {"event": LogEvent.JOB_FINISHED, "job_id": 1},
        {"event": LogEvent.PROGRESS, "done": 1, "total": 9},
    ):
        recorder.handle(logging.makeLogRecord(facts))
    recorder.close()
    assert capsys.readouterr().err.endswith("  1 of 9 jobs done: train_subject hra/r8\n")
