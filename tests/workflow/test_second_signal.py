"""Signals that Snakemake gets while it handles one."""

import signal

from hra_workflow.snakemake_bridge import job_events
from test_status import HISTORY


def test_a_second_signal_during_the_first_waits_for_nothing(here, monkeypatch):
    """`timeout` sends SIGTERM to a group, of which a process may forward it once more."""
    handled = []

    def graceful(number: int, frame) -> None:
        handled.append(number)
        recorder.interrupt(number, frame)  # Snakemake's handler holds a lock meanwhile

    before = signal.signal(signal.SIGTERM, graceful)
    try:
        recorder = job_events.Recorder(HISTORY)
        recorder.interrupt(signal.SIGTERM, None)
        recorder.interrupt(signal.SIGTERM, None)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert handled == [signal.SIGTERM, signal.SIGTERM] and recorder.interrupted
