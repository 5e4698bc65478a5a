"""A copy of the workflow in a separate folder, for tests to run and change."""

import atexit
import contextlib
import io
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from functools import cache
from pathlib import Path

import psutil
from PIL import Image

import forked_python
from support import ROOT
from timeouts import kill_tree

COPIED = ("Snakefile", "rules", "workflow", "config", "profiles", "envs", "slurm")
STAND_IN = """
from pathlib import Path
for path in map(Path, snakemake.output):
    if not path.suffix:  # a folder: no file that a rule writes is without a suffix
        path.mkdir(parents=True, exist_ok=True)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
"""
# The process that is forked has one thread: with others, as pyarrow's jemalloc starts one, a fork can hang.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
PRINTER = Path("workflow/hra_workflow/commands/print_table.py")
PRINTS = 'import sys\nprint("tables:", *sys.argv[1:])\n'


class Project:
    def __init__(self, folder: Path):
        self.folder = folder

    @classmethod
    def fresh(cls, folder: Path) -> "Project":
        """Copy the real Snakefile, rules, scripts and config, without results."""
        folder.mkdir()
        for name in COPIED:
            source = ROOT / name
            if source.is_symlink():
                (folder / name).symlink_to(os.readlink(source))
            elif source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, folder / name)
        return cls(folder)

    def copy(self, folder: Path) -> "Project":
        shutil.copytree(self.folder, folder, symlinks=True)
        return Project(folder)

    def link_library(self) -> None:
        """Link hra, which the real scripts import from the Snakefile's folder."""
        (self.folder / "hra").symlink_to(ROOT / "hra")

    def stand_in(self, text: str = STAND_IN) -> None:
        """Replace the scripts, by default by ones that touch their outputs; print which tables a user would see."""
        for script in (self.folder / "workflow/scripts").glob("*.py"):
            script.write_text(text)
        (self.folder / PRINTER).write_text(PRINTS)

    def start(
        self, *arguments: str, before: tuple[str, ...] = (), program: tuple[str, ...] = ("-m", "snakemake"), **options
    ) -> subprocess.Popen:
        """Start Snakemake as a separate process in this folder; `before`: a command to prefix."""
        command = [*before, sys.executable, *program, *arguments]
        return subprocess.Popen(command, cwd=self.folder, env=environment(self.folder), text=True, **options)

    def snakemake(self, *arguments: str, ok: bool | None = True, seconds: int = 600, **how: tuple[str, ...]) -> str:
        """Run Snakemake here; returns what it printed. `ok`: None if it may fail. `how`: as in `start`."""
        # Not a pipe, which processes that outlive Snakemake would keep open.
        with tempfile.NamedTemporaryFile("w+", errors="replace") as output:
            try:
                if not how:
                    code = forked(arguments, self.folder, output.fileno(), seconds)
                else:
                    process = self.start(*arguments, **how, stdout=output, stderr=subprocess.STDOUT)
                    code = wait(process, seconds)
            except BaseException as problem:
                problem.add_note(f"{' '.join(arguments)} printed:\n{text(output)[-20000:]}")
                raise
            assert ok in (None, code == 0), text(output)
            return text(output)

    def plan(self, *targets: str, config: str = "small.yaml", extra: tuple[str, ...] = ()) -> dict[str, set[str]]:
        """Return the jobs of a dry run: rule -> `key=value` wildcards."""
        targets = targets or ("results/table_glue.csv",)
        self.printed = output = self.snakemake("-n", "--cores", "1", "--configfile", config, *extra, "--", *targets)
        planned: dict[str, set[str]] = {}
        rule = None
        for line in output.splitlines():
            if found := re.match(r"(?:local)?(?:rule|checkpoint) (\w+):", line):
                rule = found[1]
                planned.setdefault(rule, set())
            elif rule and (found := re.match(r"\s+wildcards: (.*)", line)):
                planned[rule].add(found[1].replace(", ", " "))
        return planned

    def change(self, file: str, old: str, new: str) -> None:
        path = self.folder / file
        text = path.read_text()
        assert old in text, f"{old!r} is not in {file}"
        path.write_text(text.replace(old, new))


def write_rooms(folder: Path) -> None:
    """Write a control dataset: an archive with an image per split, and its prompts."""
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / "rooms.zip", "w") as archive:
        for number, split in enumerate(("train", "validation")):
            archive.writestr(f"{split}/7.jpg", jpeg(number))
            (folder / f"{split}.jsonl").write_text('{"image": "7.jpg", "prompt": "a room"}\n')


def jpeg(number: int) -> bytes:
    """Return an image of 512 × 512 pixels in many colours."""
    content = io.BytesIO()
    Image.effect_noise((512, 512), 50 + number).convert("RGB").save(content, "JPEG")
    return content.getvalue()


def png(colour: str) -> bytes:
    """Return an image of 16 × 16 pixels in one colour."""
    content = io.BytesIO()
    Image.new("RGB", (16, 16), colour).save(content, "PNG")
    return content.getvalue()


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of a Snakemake in this folder, which uses its own package if a test has changed it."""
    path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    if (own := package(folder / "workflow")) and own != package(ROOT / "workflow"):
        path["PYTHONPATH"] = os.pathsep.join(filter(None, [f"{folder}/workflow", os.environ.get("PYTHONPATH")]))
    return os.environ | path


def package(workflow: Path) -> dict[Path, bytes]:
    files = [*workflow.glob("hra_workflow/**/*.py"), *workflow.glob("schemas/*")]
    return {file.relative_to(workflow): file.read_bytes() for file in files}


def wait(process: subprocess.Popen, seconds: float) -> int:
    """Wait for a process, and kill it if that fails (by the test's own timeout as well)."""
    try:
        return process.wait(seconds)
    except BaseException:
        kill_tree(process.pid)
        raise


@cache
def server() -> tuple[str, str, subprocess.Popen]:
    """Start the process of forked_python.py; return its socket, the Python that jobs can have it run, and it."""
    folder = Path(tempfile.mkdtemp(prefix="hra-"))
    atexit.register(shutil.rmtree, folder)
    program = str(ROOT / "tests/forked_python.py")
    python, path = folder / "python", str(folder / "socket")
    python.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, "-IS", program, path, sys.executable])} "$@"\n')
    python.chmod(0o755)
    clean = {name: value for name, value in environment(ROOT).items() if name != "PYTHONPATH"} | ONE_THREAD
    process = subprocess.Popen([sys.executable, "-P", program, path], env=clean)  # -P: without tests/ on its path
    atexit.register(process.kill)
    while not os.path.exists(path):
        assert process.poll() is None
        time.sleep(0.01)
    return path, str(python), process


def forked(arguments: tuple[str, ...], folder: Path, output: int, seconds: float) -> int:
    """Run Snakemake, and the real scripts of its jobs, in forks of a process that has imported them."""
    path, python, process = server()
    jobs = {forked_python.JOBS_PYTHON: python} if (folder / "hra").exists() else {}
    how = {"folder": str(folder), "environment": environment(folder) | jobs}
    with forked_python.connection() as to, open(os.devnull) as nothing:
        to.settimeout(seconds)
        forked_python.request(to, path, "snakemake", arguments, [nothing.fileno(), output, output], **how)
        try:
            return int(to.recv(16))
        except TimeoutError:
            for hanging in psutil.Process(process.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    hanging.send_signal(signal.SIGABRT)  # it prints where it is (faulthandler)
            time.sleep(1)
            raise


def text(stream) -> str:
    stream.seek(0)
    return stream.read()
