"""Use of the workflow from another folder, or as a module of another Snakefile."""

import atexit
import copy
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import yaml
from snakemake.common.configfile import load_configfile
from snakemake.pathvars import Pathvars
from snakemake.settings.enums import RerunTrigger
from snakemake.settings.types import DeploymentMethod
from snakemake.utils import update_config

from hra_workflow.config import overlays
from hra_workflow.core.errors import JobError, expect

HANDLERS = ("onstart", "onsuccess", "onerror")


def is_first(workflow) -> bool:
    """Tell whether this Snakefile is read for the first time; each `use rule … from` reads it again."""
    first = not hasattr(workflow, "_hra")
    workflow._hra = True
    return first


def check_module(workflow) -> None:
    """Raise JobError if a module statement renames rules or files, which the plan and the job scripts find by name."""
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


def settle(workflow, config: dict, basedir: Path, shipped: list[Path]) -> tuple[dict, list[str]]:
    """Return the complete config, and the tasks that `all` makes. Raises JobError for what cannot be used.

    `basedir`: the workflow's folder, `shipped`: its config files. The config is merged again in the order of the files:
    Snakemake begins with the user's, so a key that a user restates would become the first of its mapping, such as the
    benchmark that selects the best step. A module's `config:` makes Snakemake skip `configfile:`.
    """
    check_module(workflow)
    check_copies(basedir, shipped, workflow.configfiles)
    skipped = workflow.modifier.skip_configfile
    stated = [config] if skipped else [load_configfile(path) for path in workflow.overwrite_configfiles]
    config = merged(*map(read, shipped), *stated, config)
    if skipped:
        workflow.pathvars.update(Pathvars.from_config(config))
    else:
        overlays.check_results(
            list(zip(map(Path, workflow.overwrite_configfiles), stated, strict=True)), basedir / "config/demo"
        )
    if not workflow.modifier.is_main_snakefile() and isinstance(config.get("pathvars"), dict):
        # A module statement may have `pathvars:` of its own.
        config["pathvars"] = {
            name: workflow.pathvars.items.get(name, path) for name, path in config["pathvars"].items()
        }
    return config, overlays.settle(config, stated)


def read(path: Path) -> dict:
    """Read a shipped config file; Snakemake's loader takes ten times as long."""
    return yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def merged(*configs: dict) -> dict:
    result: dict = {}
    for one in configs:
        update_config(result, copy.deepcopy(one))
    return result


def check_copies(basedir: Path, shipped: Iterable[Path], read: Iterable) -> None:
    """Raise JobError if the working directory has an edited copy of a shipped config file, which nothing reads.

    `snakedeploy deploy-workflow` copies all of config/. `read`: the config files that Snakemake has read.
    """
    read = {Path(path).resolve() for path in read}
    for path in shipped:
        own = Path.cwd() / path.relative_to(basedir)
        if own.exists() and own.resolve() not in read and own.read_bytes() != path.read_bytes():
            name = own.relative_to(Path.cwd())
            raise JobError(
                f"{name} differs from {path} and is not read. Delete it; write what you change to a config of your own "
                f"(docs/projects.md), or add `--configfile {name}`"
            )


def enter_container(workflow, image: str | None, basedir: Path) -> None:
    """With `--sdm apptainer`, have the jobs see the workflow's folder in their container."""
    settings = workflow.deployment_settings
    if not settings or DeploymentMethod.APPTAINER not in settings.deployment_method:
        return
    expect(image, "--sdm apptainer: expected an image, found none. Build it from envs/hra.def and set `container`")
    bind = f" --bind {basedir}"
    if bind not in settings.apptainer_args:  # Snakemake hands its arguments to the jobs of a cluster
        settings.apptainer_args += bind


def near(path: Path) -> str:
    """Return a path in the working directory relative to it, any other path as it is.

    In the workflow's own folder, Snakemake's records therefore are the same on any machine.
    """
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def join(workflow, basedir: Path) -> None:
    """Have the main workflow call this module's handlers after its own: Snakemake calls those of no module."""
    if workflow.is_main_process:
        atexit.register(warn_of_triggers, workflow, basedir)
    if workflow.modifier.is_main_snakefile():
        return
    for name in HANDLERS:
        if name in workflow.globals:
            setattr(workflow, f"_{name}", both(getattr(workflow, f"_{name}"), workflow.globals[name]))


def both(first: Callable, second: Callable) -> Callable:
    def call(log):
        first(log)
        second()  # Snakemake has bound its log

    return call


def warn_of_triggers(workflow, basedir: Path) -> None:
    """Warn where a new release of the workflow would repeat finished runs, since profiles/default is not read."""
    if workflow.dag_settings and RerunTrigger.CODE in workflow.rerun_triggers:
        print(
            "warning: `code` is a rerun trigger, so any change of the workflow's code repeats finished runs. Add "
            f"--workflow-profile {basedir / 'profiles/default'}",
            file=sys.stderr,
        )
