"""The history of the Snakemake runs with one folder of results: a line of JSON per event, for `hra-workflow status`.

The events are the start of a run (with its process), the start, success or failure of a job, and the end of the run,
which is missing if it was killed. Several runs may append at a time. Times are those of the file system, as of the
files that jobs write.
"""

import contextlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from hra_workflow.core import process_identity

NAME = "history.jsonl"
BEGUN, STARTED, FINISHED, FAILED, ENDED = "begun", "started", "finished", "failed", "ended"


@dataclass
class History:
    """jobs: name → last event. unfinished: run → its start, if it has not ended regularly. last: the last run."""

    jobs: dict[str, dict] = field(default_factory=dict)
    unfinished: dict[str, dict] = field(default_factory=dict)
    last: str = ""

    def running(self) -> dict[str, str]:
        """Return the runs that have not ended, with the states of their processes, as far as these can be observed.

        If they cannot, only the last run is returned: a killed run would otherwise count as running indefinitely.
        """
        states = {run: process_identity.state(start["process"]) for run, start in self.unfinished.items()}
        return {
            run: state for run, state in states.items() if state == "running" or (run == self.last and state != "dead")
        }


def begin(path: Path, run: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    append(path, run, BEGUN, process=process_identity.this_process())


def append(path: Path, run: str, event: str, **facts) -> None:
    """Append an event. A full disk does not stop the run, but makes its status incomplete."""
    with contextlib.suppress(OSError):
        path.touch()
        line = {"run": run, "event": event, "time": path.stat().st_mtime} | facts
        with path.open("a") as stream:
            stream.write(json.dumps(line) + "\n")


def read(path: Path) -> History:
    """Read a history; return an empty one if the file does not exist."""
    history = History()
    for text in path.read_text().splitlines() if path.exists() else ():
        try:
            line = json.loads(text)
        except ValueError:  # caused by a full disk, or by two machines at a time
            continue
        history.last = line["run"]
        if line["event"] == BEGUN:
            history.unfinished[line["run"]] = line
        elif line["event"] == ENDED:
            history.unfinished.pop(line["run"], None)
        else:
            history.jobs[line["job"]] = line
    return history
