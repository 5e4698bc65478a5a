"""The findings of `hra-workflow smoke`, one line per check, and results/preflight.json (docs/results.md)."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from hra_workflow.core import files, provenance
from hra_workflow.core.errors import JobError
from hra_workflow.core.wording import listed


@dataclass(frozen=True)
class Finding:
    """One line of the report. `text`: the result, or the problem and its fix. `of`: probe.workload, of probes."""

    check: str
    ok: bool
    text: str
    of: dict[str, str | None] = field(default_factory=dict, compare=False)

    def __str__(self) -> str:
        return f"  {'ok  ' if self.ok else 'TODO'}  {self.check}: {self.text}"


def show(findings: Iterable[Finding]) -> None:
    print("\n".join(map(str, findings)))


def conclude(command: str, file: Path, found: list[Finding], places: dict[str, str]) -> None:
    """Print the findings and delete the probes' files, except logs; raise JobError if there is a problem to fix."""
    for name in ("results", "resources", "scratch"):
        shutil.rmtree(places[name], ignore_errors=True)
    show(found)
    left = sum(not one.ok for one in found)
    print(f"{file}: {len(found)} checks, {left or 'nothing'} to do")
    if left:
        raise JobError(f"{command}: {left} of {len(found)} checks say TODO.")


def check_login(results: str | Path) -> None:
    """Raise JobError if a check of the last dry run says TODO: the jobs would fail for the same reason, but later."""
    left = [one["check"] for one in load(results)["findings"] if one["part"] == "login" and not one["ok"]]
    if left:
        raise JobError(
            f"{path(results)}: expected no TODO among the checks of the last dry run, found {len(left)}: "
            f"{listed(left, 3)}. Do what they name, then run `hra-workflow smoke`, which checks again"
        )


def path(results: str | Path) -> Path:
    return Path(results, "preflight.json")


def load(results: str | Path) -> dict:
    """Return the last report; an empty one if it does not exist."""
    return {"findings": [], "rates": [], "memory": []} | files.read_if_valid(path(results))


def save(results: str | Path, part: str, findings: list[Finding], **measured: list[dict]) -> None:
    """Replace the findings of one part in the report of a folder of results.

    `measured`: its `rates` and its `memory`, which replace those of the part for the same tasks.
    """
    report = load(results)
    kept = [entry for entry in report["findings"] if entry["part"] != part]
    new = [{"part": part, "check": one.check, "ok": one.ok, "text": one.text} | one.of for one in findings]
    for name, entries in measured.items():
        tasks = {entry["task"] for entry in entries}
        old = [entry for entry in report[name] if entry["part"] != part or entry["task"] not in tasks]
        report[name] = old + [{"part": part} | entry for entry in entries]
    files.write_json(path(results), report | {"time": provenance.now(), "findings": kept + new})
