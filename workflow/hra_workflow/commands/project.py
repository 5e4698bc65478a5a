"""The Snakemake command for a project, and its start."""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from hra_workflow import ROOT
from hra_workflow.commands.parameters import CONFIG, STOPPED, WRONG, own
from hra_workflow.config import overlays
from hra_workflow.core.errors import JobError, expect
from hra_workflow.core.wording import meant

QUIET = ("rules", "progress", "host")
PREAMBLE = "Using workflow specific profile"
ERROR = "Error: "  # of the workflow, before any job
SNAKEFILES = ("Snakefile", "workflow/Snakefile")  # of a folder that uses this workflow as a module


@dataclass(frozen=True)
class Project:
    """The config files of a command, and where its jobs run.

    configs: without one, the paper's grid. data: value of the config key `local_root`.
    """

    configs: tuple[str, ...] = ()
    profile: str | None = None
    cores: int | None = None
    data: str | None = None
    verbose: bool = False

    def __post_init__(self) -> None:
        import_from_workflow(self.configs)
        read(map(Path, self.configs))  # Snakemake reads them before the workflow does, and ends with a traceback
        self.check_place()

    @property
    def is_module(self) -> bool:
        """Return whether the working directory has its own Snakefile, whose config only Snakemake knows."""
        return not self.is_here and any(map(os.path.exists, SNAKEFILES))

    @property
    def is_here(self) -> bool:
        return os.path.samefile(ROOT, ".")

    def check_place(self) -> None:
        """Raise JobError if a project's folder would be written in another place than next to the project."""
        if not self.configs:
            if not self.is_here and not self.is_module and os.path.exists(CONFIG):
                Project((CONFIG,))  # of a project's folder: says where to go
                raise JobError(f"expected the project that is meant, found {CONFIG} here. Name it: … {CONFIG}")
            return
        file = Path(self.configs[0]).resolve()
        folder, is_shipped = file.parent, file.is_relative_to(Path(ROOT, "config").resolve())
        is_project = file.name == CONFIG and self.results().split("/")[0] == folder.name
        if is_project and folder.parent != Path.cwd() and not is_shipped:
            raise JobError(
                f"expected the folder in which {folder.name} was made, found {Path.cwd()}. Change to it: "
                f"cd {shlex.quote(str(folder.parent))}, and name the project {folder.name}"
            )

    def results(self) -> str:
        """Return the folder of results of the config files, without one that of the paper's grid."""
        files = read(map(Path, (f"{ROOT}/config/config.yaml", *self.configs)))
        stated = [one["pathvars"] for one in files if isinstance(one.get("pathvars"), dict)]
        return str([one["results"] for one in stated if "results" in one][-1])

    def table(self, name: str | None) -> str | None:
        """Return the name of a table of the config; raise JobError, with the nearest name, if it has no such table."""
        if name is None or self.is_module:
            return name
        known = [table for one in self.tables().values() for table in one]
        expect(
            name in known,
            f"--table {name}: expected a table of the config ({', '.join(known)}), found another name"
            f"{meant(name, known)}. Correct it",
        )
        return name

    def task(self, name: str | None) -> str | None:
        """Return the name of a task that the config makes; raise JobError for another one."""
        if name is None or self.is_module:
            return name
        known = self.tables()
        expect(name in known, f"--task {name}: expected a task of the config ({', '.join(known)}). Correct it")
        return name

    def files(self) -> list[tuple[Path, dict]]:
        """Return path and content of the files that the config is merged of, the paper's first."""
        return read_files([*overlays.shipped(Path(ROOT)), *map(Path, self.configs)])

    def tables(self) -> dict[str, list[str]]:
        """Return the names of the tables of each task that the config makes."""
        from hra_workflow import tasks
        from hra_workflow.config import validation

        stated = read(map(Path, self.configs))
        config = overlays.merged(*map(overlays.read, overlays.shipped(Path(ROOT))), *stated)
        chosen = overlays.finish_merge(config, stated)
        try:
            known = tasks.load(config)
            return {name: known[name].tables() for name in chosen}
        except Exception:  # any, if the config is wrong: the validation says what is
            validation.check(config, [*map(Path, self.configs)])
            raise

    def command(self, *options: str, targets: tuple[str, ...] = (), **config) -> list[str]:
        """Return Snakemake's command; `config`: keys for --config."""
        if self.data:
            config |= {"local_root": self.data}
        if self.is_module:
            place = ["--workflow-profile", own("profiles/default")]
        else:
            place = [] if self.is_here else ["--snakefile", own("Snakefile")]
        machine = ["--profile", profile_path(self.profile)] if self.profile else []
        if self.cores or not self.profile:
            machine += ["--cores", str(self.cores or max(2, len(os.sched_getaffinity(0))))]
        stated = ["--configfile", *self.configs] if self.configs else []
        given = [f"{key}={json.dumps(value) if isinstance(value, dict) else value}" for key, value in config.items()]
        return [
            *("snakemake", *place, *machine, *stated, *options),
            *(["--config", *given] if given else []),
            *("--", *targets),
        ]

    def plan(self, *targets: str, **config) -> int:
        """Run dry and print the plan, or why there is none; with `verbose`, also every job."""
        options = ("-n",) if self.verbose else ("-n", "-q", *QUIET)
        found = self.command(*options, targets=targets, **config)
        return call(found, None if self.verbose else lambda line: line.startswith("table_"))

    def request(
        self, command: str, rule: str, words: dict[str, str | None], seen: Callable[[str], None] | None = None
    ) -> int:
        """Export a run or predict with it, and print the result; `words`: keys of the request, or None.

        seen: called with every line of the output.
        """
        request = {key: value for key, value in words.items() if value is not None}
        options = ("-R", rule) if self.verbose else ("-q", "all", "-R", rule)
        found = self.command(*options, targets=(command,), request=request | {"command": command})
        return call(found, lambda line: bool(seen and seen(line)) or not line.startswith((PREAMBLE, ERROR)))

    def start(self, *targets: str, options: tuple[str, ...] = (), **config) -> int:
        """Run jobs, with progress bars in a terminal."""
        progress = ("--logger", "rich") if sys.stderr.isatty() else ("-q", "rules", "host")
        return call(self.command(*options, *(() if self.verbose else progress), targets=targets, **config))


def import_from_workflow(configs: tuple[str, ...]) -> None:
    """Let configs in the workflow's folder name modules in it, here and in jobs; those of its grid and demo do not."""
    inside = [path for path in map(os.path.realpath, configs) if Path(path).is_relative_to(ROOT)]
    if ROOT not in sys.path and not all(Path(path).is_relative_to(f"{ROOT}/config") for path in inside):
        sys.path.append(ROOT)
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), ROOT]))


def read(paths: Iterable[Path]) -> list[dict]:
    """Return the contents of config files, each after those that it extends; raise JobError for other files."""
    return [content for _, content in read_files(paths)]


def read_files(paths: Iterable[Path]) -> list[tuple[Path, dict]]:
    """Return path and content of config files, each after those that it extends; raise JobError for other files."""

    def load(path: Path) -> dict:
        try:
            content = overlays.read(path)
        except yaml.YAMLError as problem:
            raise JobError(f"{path}: expected YAML, found an error: {problem}. Correct it") from problem
        found = type(content).__name__
        expect(isinstance(content, dict | None), f"{path}: expected keys of the config, found {found}. Correct it")
        return content

    return overlays.with_extended(paths, load)


def profile_path(name: str) -> str:
    """Return the path of a profile of this workflow, or the name of another one, which Snakemake looks for."""
    shipped = [place for place in (name, f"profiles/{name}") if Path(ROOT, place).is_dir()]
    return own(shipped[0]) if shipped and not Path(name).is_dir() else name


@contextlib.contextmanager
def signals_to(running: subprocess.Popen) -> Iterator[list[int]]:
    """Let a process get the signals of this one; provide the list of the SIGINTs, which a terminal sends to both."""
    stopped: list[int] = []
    handlers = {signal.SIGINT: lambda number, _: stopped.append(number)}
    handlers |= dict.fromkeys((signal.SIGTERM, signal.SIGHUP), lambda number, _: running.send_signal(number))
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def call(command: list[str], is_first: Callable[[str], bool] | None = None) -> int:
    """Print a command, run it, and return its exit status. Signals go to the command, not to this process.

    is_first: print its output only from such a line on or, if it fails without one, from its error on. An error of the
    workflow before any job counts as a wrong command line.
    """
    print(f"$ {shlex.join(command)}", file=sys.stderr, flush=True)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True} if is_first else {}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    running = subprocess.Popen(command, env=os.environ | {"PATH": path}, **pipes)
    hidden: list[str] | None = []  # None: the first line is printed
    with signals_to(running) as stopped:
        for line in running.stdout or ():
            if is_first(line) or hidden is None:
                hidden = None
                print(line, end="", flush=True)
            else:
                hidden.append(line)
        status = running.wait()
    if stopped:
        print("Stopped. Finished work is kept: give the same command again.", file=sys.stderr)
        return STOPPED
    if status and hidden:
        start = next((index for index, line in enumerate(hidden) if line.startswith(ERROR)), 0)
        print("".join(hidden[start:]), end="", file=sys.stderr)
        return WRONG if hidden[start].startswith(ERROR) else status
    return status
