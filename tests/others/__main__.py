"""Run tests that other projects wrote on this package: python tests/others [SUITE ...] [--write] [options of pytest].

Their files come with the source distribution of the installed package, from a commit on GitHub, or, with
`PEFT_SOURCE=folder` (`DIFFUSERS_SOURCE`, …) in the environment, from a folder with the repository; PEFT itself is then
that of the folder. What they load from the Hugging Face Hub is replaced with random models of the same classes and
names. The counts are compared with the tables of tests/others/README.md and of packages; `--write` writes them.
"""

import contextlib
import importlib.metadata
import json
import os
import runpy
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from from_github import checkout
from suites import ROOT, SUITES, Suite

SUITES = [
    *SUITES,
    *(runpy.run_path(str(path))["SUITE"] for path in sorted(ROOT.glob("packages/*/tests/others/suite.py"))),
]
BEGIN, END = "<!-- make others-tests: -->\n", "<!-- end -->\n"
COLUMNS = {"passed": "passed", "skipped": "skipped by themselves", "Hub": "not run: need the Hub", "CUDA": "CUDA"}
COLUMNS |= {"PEFT": "a later PEFT", "differs": "differ on purpose", "anyway": "fail without it, too"}
PIP = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]


def source_folder(suite: Suite) -> str | None:
    return os.environ.get(f"{suite.package.upper()}_SOURCE")


def fetch(suite: Suite, folder: Path) -> None:
    """Put the tests of a suite's package, and its sources if they are to be used, into a folder."""
    if folder.exists():
        return
    version = importlib.metadata.version(suite.package)
    if source := source_folder(suite):
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns(".git"))
    elif suite.commit:
        checkout(folder, suite.repository, suite.commit, "tests")
    else:
        with tempfile.TemporaryDirectory() as download:
            requested = ["--no-deps", "--no-binary", suite.package, "-d", download, f"{suite.package}=={version}"]
            subprocess.run([*PIP, "download", *requested], check=True)
            with tarfile.open(next(Path(download).glob("*.tar.gz"))) as archive:
                archive.extractall(download, filter="data")
            shutil.move(next(path for path in Path(download).iterdir() if path.is_dir()), folder)
    (folder / "tests/__init__.py").touch()  # missing from PEFT's source distribution


def run(suite: Suite, folder: Path, options: list[str]) -> dict[str, dict]:
    """Run one suite and return the number and names of its tests, by what happened."""
    checkout = folder / suite.package
    for name, text, replacement in suite.edits:
        path = checkout / name
        if text not in path.read_text():
            raise SystemExit(f"{name}: expected {text!r}, found no such text. Correct tests/others/suites.py.")
        path.write_text(path.read_text().replace(text, replacement))
    paths = [f"{checkout}/src"] if source_folder(suite) and suite.package == "peft" else []
    paths += [f"{folder}/packages", str(ROOT), str(ROOT / "tests/others"), str(suite.stand_ins)]
    paths += [str(Path(sys.prefix, "quantization"))] if "quantization" in suite.files else []
    environment = (
        os.environ
        | suite.environment
        | {
            "HF_HUB_CACHE": f"{folder}/hub",
            "HF_HUB_OFFLINE": "1",
            "OTHERS_SUITE": suite.name,
            "OTHERS_COUNTS": f"{folder}/{suite.name}.json",
            "PYTHONPATH": os.pathsep.join(paths),
        }
    )
    files = [f"{suite.folder}/{name if '.' in name else f'test_{name}.py'}" for name in suite.files.split()]
    # PEFT's settings measure coverage, and make errors of transformers' warnings of deprecation.
    command = [sys.executable, "-m", "pytest", "-o", "addopts=", "-o", "filterwarnings=", "-p", "others_plugin", "-q"]
    command += ["-p", "no:cacheprovider", "-W", "ignore", *(["-k", suite.select] if suite.select else [])]
    code = subprocess.run([*command, *options, *files], cwd=checkout, env=environment).returncode
    if code > 1:
        raise SystemExit(f"{suite.name}: pytest could not run the tests, see above")
    return json.loads(Path(environment["OTHERS_COUNTS"]).read_text())


def row(suite: Suite, result: dict[str, dict]) -> str:
    """Return the suite's line of the table."""
    counts = result["counts"]
    source = suite.commit and f"{suite.repository} at {suite.commit[:7]}"
    tested = f"{suite.package} {importlib.metadata.version(suite.package)}"
    cells = [f"{suite.what} ({source + ', run with ' if source else ''}{tested})"]
    return f"| {' | '.join(cells + [str(counts.get(kind, 0)) for kind in COLUMNS])} |"


def table(results: dict[str, dict], written: str, suites: list[Suite]) -> str:
    """Return a page's table with new lines for the suites that were run, and the written ones for the others."""
    lines = [f"| | {' | '.join(COLUMNS.values())} |", f"|---|{'--:|' * len(COLUMNS)}"]
    for suite in suites:
        old = [line for line in written.splitlines() if line.startswith(f"| {suite.what} (")]
        lines += [row(suite, results[suite.name])] if suite.name in results else old
    return "\n".join(lines) + "\n"


def prepare(suites: list[Suite], folder: Path) -> None:
    """Write what the suites import and load, except their own files."""
    if all(suite.machine for suite in suites):
        return
    from stand_ins import write_models  # imports torch and diffusers

    subprocess.run([*PIP, "install", "--no-deps", "--target", f"{folder}/packages", "parameterized"], check=True)
    write_models(folder / "hub")


def main(arguments: list[str]) -> int:
    chosen = [suite for suite in SUITES if suite.name in arguments] or SUITES
    own = {"--write", *(suite.name for suite in SUITES)}
    options = [word for word in arguments if word not in own]
    with tempfile.TemporaryDirectory() as folder:
        prepare(chosen, Path(folder))
        results, missing = {}, []
        for suite in chosen:
            if reason := suite.lacking():
                missing.append(f"{suite.name}: not run: {reason}")
                continue
            try:
                fetch(suite, Path(folder, suite.package))
            except subprocess.CalledProcessError as error:
                missing.append(f"{suite.name}: {' '.join(map(str, error.cmd))} has failed")
            else:
                with suite.machine() if suite.machine else contextlib.nullcontext():
                    results[suite.name] = run(suite, Path(folder), options)
    for name, result in results.items():
        for kind, tests in result["names"].items():
            if kind != "passed":
                print(*(f"{name}: {COLUMNS.get(kind, kind)}: {test}" for test in tests), sep="\n")
    failed = sum(result["counts"].get("failed", 0) for result in results.values())
    for page in dict.fromkeys(suite.page for suite in SUITES):
        before, rest = page.read_text().split(BEGIN)
        written, after = rest.split(END, 1)
        found = table(results, written, [suite for suite in SUITES if suite.page == page])
        print(found)
        if "--write" in arguments:
            page.write_text(before + BEGIN + found + END + after)
        elif "PEFT_SOURCE" not in os.environ and "-k" not in options and found != written:
            missing.append(f"{page.name} has other counts: look for the reason, then write them with --write.")
    print(*missing, sep="\n")
    return int(bool(failed or missing))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
