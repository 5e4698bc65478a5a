"""Plant one mistake at a time into a copy of the code, and show which test fails: python tests/mutants.py [NAME ...].

mutants.txt, here and in the tests of packages and studies, has the mistakes, each with the test files of which one must
fail; of `FILE:WORD`, the tests with this word in their name run first, which saves time. When tests are merged or
removed, every mutant must still be killed. At the end, the tests that failed run in the copy without a mistake, and
must pass. The exit status is 1 if a mutant survives, does not apply any more, or is killed by what fails without it,
too.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
TABLES = [ROOT / "tests/mutants.txt", *sorted(ROOT.glob("[ps]*/*/tests/mutants.txt"))]  # of packages/ and studies/
# What pip installs from this repository in editable form, and where it is.
PACKAGES = {"hra": ".", "hra_workflow": "workflow"} | {
    path.parent.name: str(path.parents[1].relative_to(ROOT))
    for path in sorted(ROOT.glob("packages/*/src/*/__init__.py"))
}
OPTIONS = ["-q", "-n", "0", "-m", "not full", "--tb=no", "-p", "no:cacheprovider"]


@dataclass
class Mutant:
    """`old`, which occurs once in the file, becomes `new`. tests: FILE or FILE:WORD, in the order in which they run."""

    name: str
    file: str
    old: str
    new: str
    tests: list[str]

    def mutated(self, text: str) -> str:
        """Return the text of the file with the mistake; raise ValueError if it does not apply."""
        if (count := text.count(self.old)) != 1:
            raise ValueError(f"{self.file} has {count} times, instead of once: {self.old!r}")
        changed = text.replace(self.old, self.new)
        if self.file.endswith(".py"):
            compile(changed, self.file, "exec")  # a syntax error would be killed by any test
        return changed

    def attempts(self) -> list[list[str]]:
        """Return arguments of pytest: those of the tests that probably fail, then all files."""
        pairs = [one.partition(":") for one in self.tests]
        return [[file, "-k", word] for file, _, word in pairs if word] + [[file for file, *_ in pairs]]


def read() -> dict[str, Mutant]:
    """Read every mutants.txt: per mistake a line `NAME FILE`, `- ` old text, `+ ` new text, and `? TESTS`."""
    parts: dict[str, tuple[str, dict[str, list[str]]]] = {}
    for line in filter(None, (line for table in TABLES for line in table.read_text().splitlines())):
        if line[0] not in "-+?#":
            name, file = line.split()
            assert name not in parts, name
            parts[name] = file, {mark: [] for mark in "-+?"}
        elif line[0] != "#":
            parts[name][1][line[0]].append(line[2:])
    return {
        name: Mutant(name, file, *("\n".join(found[mark]) for mark in "-+"), " ".join(found["?"]).split())
        for name, (file, found) in parts.items()
    }


def copy_of_tracked_files(folder: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)


def environment(folder: Path) -> dict[str, str]:
    """Return variables with which all processes import the copy, also those that tests start."""
    places = [str(folder / place) for place in PACKAGES.values()]
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(places)}
    code = f"import importlib; print(*(importlib.import_module(name).__file__ for name in {[*PACKAGES]}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd="/", env=variables, capture_output=True, text=True, check=True
    )
    for path, place in zip(done.stdout.split(), places, strict=True):
        assert Path(path).is_relative_to(place), f"expected the package in {place}, found {path}"
    return variables


def failures(folder: Path, variables: dict[str, str], tests: list[str]) -> list[str]:
    """Return the tests that fail; raise RuntimeError if pytest cannot run them."""
    command = [sys.executable, "-m", "pytest", *OPTIONS, *tests]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)
    if done.returncode == 5 and "-k" in tests:
        return []
    if done.returncode not in (0, 1):
        raise RuntimeError(f"pytest ended with status {done.returncode}: {done.stdout[-1000:]}{done.stderr[-1000:]}")
    marked = [line for line in done.stdout.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    found = [line.partition(" ")[2].partition(" - ")[0] for line in marked]
    assert bool(found) == bool(done.returncode), done.stdout
    return found


def main(names: list[str]) -> int:
    mutants = read()
    if unknown := [name for name in names if name not in mutants]:
        raise SystemExit(f"expected names of mutants.txt, found {', '.join(unknown)}")
    chosen, killers, wrong = names or [*mutants], {}, 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as place:
        folder = Path(place).resolve() / "copy"
        copy_of_tracked_files(folder)
        variables = environment(folder)
        for mutant in map(mutants.get, chosen):
            started, path = time.monotonic(), folder / mutant.file
            text, times = path.read_text(), path.stat()
            try:
                path.write_text(mutant.mutated(text))
                runs = (failures(folder, variables, ["-x", *one]) for one in mutant.attempts())
                found = next(filter(None, runs), [])
                outcome = f"killed by {found[0]}" if found else "SURVIVED"
                killers |= {mutant.name: found[0]} if found else {}
            except (ValueError, RuntimeError) as problem:
                found, outcome = [], f"NOT TESTED: {problem}"
            wrong += not found
            path.write_text(text)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # another than the mutant's: it is compiled again
            print(f"{mutant.name:32} {outcome} ({time.monotonic() - started:.0f} s)", flush=True)
        try:
            whole = sorted({test.partition("[")[0] for test in killers.values()})  # an argument may look like a message
            bad = failures(folder, variables, whole) if killers else []
        except RuntimeError as problem:
            bad = [str(problem)]
        print(*(f"Fails without a mistake, too: {one}\n" for one in bad), sep="", end="")
        wrong += len(bad)
    print(f"{len(chosen)} mutants, {len(killers)} killed" + f", {wrong} problems" * bool(wrong))
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
