#!/usr/bin/env python3
"""sbatch, squeue, scancel, srun, scontrol, sinfo and sacct of a Slurm that starts every job at once (conftest.py)."""

import json
import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(os.environ["FAKE_SLURM"])


def sbatch(*words: str) -> int:
    options, failing = {}, FOLDER / "failing"
    for index, word in enumerate(words):
        name, _, value = word.partition("=")
        options[name] = value or (words[index + 1] if index + 1 < len(words) else "")
    if "rule_pack" in options["--comment"] and failing.exists() and (left := int(failing.read_text())):
        failing.write_text(str(left - 1))
        print("sbatch: error: Unable to contact slurm controller", file=sys.stderr)
        return 1
    number = 1
    while True:
        try:
            (FOLDER / f"{number}.job").touch(exist_ok=False)
            break
        except FileExistsError:
            number += 1
    job = {"name": options["--job-name"], "comment": options["--comment"], "command": options["--wrap"]}
    job["options"] = " ".join(word for word in words if not word.startswith("--wrap"))
    first, _, last = options.get("--array", "").partition("-")
    for task in range(int(first), int(last) + 1) if first else [None]:
        name = f"{number}_{task}" if task else str(number)
        path = options["--output"].replace("%j", name).replace("%A_%a", name)
        of_task = {"SLURM_ARRAY_TASK_ID": str(task)} if task else {}
        status = FOLDER / f"{name}.status"
        # Renamed when it is complete: squeue would take an empty file for a failure.
        script = f"({options['--wrap']})\necho $? > {status}.new\nmv {status}.new {status}"
        with open(path, "w") as log:
            started = subprocess.Popen(
                ["sh", "-c", script],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=os.environ | {"SLURM_JOB_ID": str(number), "SLURM_NTASKS": "1"} | of_task,
                start_new_session=True,
            )
        (FOLDER / f"{name}.json").write_text(json.dumps(job | {"pid": started.pid}))
    print(number)
    return 0


def squeue(*words: str) -> int:
    silent = FOLDER / "silent"
    if "--states=all" in words and silent.exists() and (left := int(silent.read_text())):
        silent.write_text(str(left - 1))
        return 1
    named = words[words.index("--name") + 1] if "--name" in words else None
    for path in sorted(FOLDER.glob("*.json")):
        name = json.loads(path.read_text())["name"]
        if named not in (None, name):
            continue
        status = path.with_suffix(".status")
        state = "RUNNING" if not status.exists() else "COMPLETED" if status.read_text() == "0\n" else "FAILED"
        if "--states=all" in words:
            print(f"{path.stem}|{state}")
        elif state == "RUNNING":
            print(f"{path.stem}\t{name}")
    return 0


def scancel(*jobs: str) -> None:
    for number in jobs:
        (FOLDER / f"{number}.status").write_text("143\n")
        os.killpg(json.loads((FOLDER / f"{number}.json").read_text())["pid"], 15)


def srun(*words: str) -> int:
    start = next(index for index, word in enumerate(words) if not word.startswith("-"))
    return subprocess.call(words[start:])


def scontrol(*_: str) -> None:
    print("MinJobAge = 300 sec")  # squeue still lists jobs that have ended


if __name__ == "__main__":
    command = globals().get(Path(sys.argv[0]).name, lambda *_: 0)
    sys.exit(command(*sys.argv[1:]) or 0)
