"""Use of the workflow from another folder, or as a module of another Snakefile."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from snakemake.common.configfile import load_configfile
from snakemake.pathvars import Pathvars

from hra_workflow.config import overlays, validation
from hra_workflow.core import launcher
from hra_workflow.core.errors import JobError, ending_the_run, expect
from hra_workflow.tasks import requested_run
from hra_workflow.tasks.base import Task

# Keys that commands and messages pass by --config. They also apply to a module that gets only a part of the config.
COMMANDED = ("request", "plan_file", "preflight", "probes", "incomplete")


def check_module(workflow) -> None:
    """Raise JobError if a module statement renames rules or files: the plan and the job scripts find them by name."""
    modifier = workflow.modifier
    renamed = modifier.resolved_rulename_modifier
    names = modifier.rule_whitelist or ["train_glue"]
    expect(
        renamed is None or all(renamed(name) == name for name in names),
        "module: rules keep their names. Write `use rule * from …` without `as`, or `as` with the same name",
    )
    paths = modifier.path_modifier
    expect(
        paths.prefix is None and not paths.modifies_prefixes,
        "module: `prefix` and `replace_prefix` are not supported. Set `pathvars` in the config: results, resources, …",
    )


def check_python() -> None:
    """Raise JobError if Snakemake cannot run scripts with this Python (snakemake#2645)."""
    expect(
        " " not in sys.executable,
        f"expected a Python whose path has no space, found {sys.executable}: Snakemake does not quote it. "
        "Create the environment elsewhere: make install VENV=/path/to/venv, and give VENV to further calls of make",
    )


def complete_config(workflow, config: dict, basedir: Path, shipped: list[Path]) -> tuple[dict, list[str]]:
    """Return the complete config, and the tasks that `all` makes. End the run if the config cannot be used.

    `basedir`: the workflow's folder, `shipped`: its config files.
    """
    with ending_the_run():
        check_python()
        check_module(workflow)
        check_copies(basedir, shipped, workflow.configfiles)
        config, chosen, files = complete(workflow, config, shipped)
        validation.check(config, files)
        enter_container(workflow, config["container"], basedir)
    os.environ.pop(launcher.RUN_JOBS_WITH, None)
    if config["preflight"]:
        from hra_workflow.preflight import probe

        os.environ |= {launcher.RUN_JOBS_WITH: command} if (command := config["probes"]["command"]) else {}
        config = probe.config_of(config)
        workflow.pathvars.update(Pathvars.from_config(config, module_level=True))  # also over the keys of a module
    return config, chosen


def requested(config: dict, tasks: dict[str, Task], chosen: list[str]) -> requested_run.Request | None:
    """Return the request of `hra-workflow export` or `predict`. End the run if it names what does not exist."""
    with ending_the_run():
        return requested_run.parse_request(config, tasks, chosen)


def complete(workflow, config: dict, shipped: list[Path]) -> tuple[dict, list[str], list[Path]]:
    """Merge the user's config over the shipped files; also return the tasks that `all` makes, and the user's files.

    It does not use `configfile:`, which begins with the user's file: a key that the user repeats would become the first
    one of its mapping, such as the benchmark that selects the best step. `configfile:` also prints a line per file.
    """
    modifier, settings = workflow.modifier, workflow.config_settings
    read = [] if modifier.skip_configfile else overlays.with_extended(settings.configfiles, load)
    own = [config] if modifier.skip_configfile else [content for _, content in read]
    if read and overlays.EXTENDS not in settings.config:
        config = {key: value for key, value in config.items() if key != overlays.EXTENDS}
    commanded = {key: settings.config[key] for key in COMMANDED if key in settings.config}
    if isinstance(own_probes := commanded.get("probes"), dict):  # Snakemake reads the values of a mapping as text
        commanded["probes"] = {key: int(value) if str(value).isdigit() else value for key, value in own_probes.items()}
    config = overlays.merged(*map(overlays.read, shipped), *own, config, commanded)
    workflow.pathvars.update(Pathvars.from_config(config))
    if modifier.namespace and isinstance(config.get("pathvars"), dict):
        # A module statement may have its own `pathvars:`.
        config["pathvars"] = {name: workflow.pathvars.get(name) for name in config["pathvars"]}
    return config, overlays.finish_merge(config, own), [path for path, _ in read]


def load(path: Path) -> dict:
    """Read a user's config file as Snakemake does; raise JobError for what it would misread."""
    overlays.text_of(path)
    content = load_configfile(path)
    overlays.check_written(path)
    return content


def check_copies(basedir: Path, shipped: Iterable[Path], read: Iterable) -> None:
    """Raise JobError if the working directory has an edited copy of a shipped config file, which is not read.

    `snakedeploy deploy-workflow` copies all of config/. `read`: the config files that Snakemake has read.
    """
    read = {Path(path).resolve() for path in read}
    for path in shipped:
        own = Path.cwd() / path.relative_to(basedir)
        if own.exists() and own.resolve() not in read and own.read_bytes() != path.read_bytes():
            name = own.relative_to(Path.cwd())
            raise JobError(
                f"{name} differs from {path} and is not read. Delete it; write your changes to a separate config "
                f"(docs/running.md), or add `--configfile {name}`"
            )


def enter_container(workflow, image: str | None, basedir: Path) -> None:
    """Mount the workflow's folder in the containers of the jobs if `--sdm apptainer` is set."""
    stated = vars(settings) if (settings := workflow.deployment_settings) else {}
    methods = stated.get("deployment_methods", stated.get("deployment_method", ()))  # the first since snakemake#3339
    if not {"apptainer", "container"} & {getattr(one, "name", one).lower() for one in methods}:
        return
    expect(image, "--sdm apptainer: expected an image, found none. Build it from envs/hra.def and set `container`")
    for name in ("APPTAINER_BIND", "SINGULARITY_BIND"):  # set again on a compute node, which also reads the Snakefile
        folders = [*filter(None, os.environ.get(name, "").split(",")), str(basedir)]
        os.environ[name] = ",".join(dict.fromkeys(folders))


def near(path: Path) -> str:
    """Return a path in the working directory relative to it, and any other path unchanged.

    In the workflow's own folder, Snakemake's records therefore are the same on any machine.
    """
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
