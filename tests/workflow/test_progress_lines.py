"""The lines of finished jobs, where there is no progress bar."""

import logging
from types import SimpleNamespace

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from hra_workflow.snakemake_bridge import job_events
from support import paper_config


@pytest.mark.parametrize(
    ("rule", "run", "line"),
    [
        ("train_subject", "base/pretrained", "train_subject base/pretrained (trains nothing, writes the run's record)"),
        ("train_subject", "real/images", "train_subject real/images (trains nothing, writes the run's record)"),
        ("train_subject", "hra/r8", "train_subject hra/r8"),
        ("evaluate_subject", "base/pretrained", "evaluate_subject base/pretrained"),
    ],
)
def test_the_line_of_a_training_job_says_if_it_trains_nothing(here, monkeypatch, capsys, rule, run, line):
    handlers = []
    monkeypatch.setattr(job_events, "logger", SimpleNamespace(addHandler=handlers.append))
    workflow = SimpleNamespace(output_settings=SimpleNamespace(log_handler_settings={"rich": None}))
    job_events.record(workflow, paper_config() | {"preflight": None})
    (recorder,) = handlers
    wildcards = dict(zip(("method", "variant"), run.split("/"), strict=True))
    for facts in (
        {"event": LogEvent.JOB_INFO, "jobid": 1, "rule_name": rule, "wildcards": wildcards},
        {"event": LogEvent.JOB_FINISHED, "job_id": 1},
        {"event": LogEvent.PROGRESS, "done": 1, "total": 9},
    ):
        recorder.handle(logging.makeLogRecord(facts))
    recorder.close()
    assert capsys.readouterr().err.endswith(f"  1 of 9 jobs done: {line}\n")
