"""Arguments and options that several commands have."""

import os
from collections.abc import Callable
from functools import reduce
from pathlib import Path

import click

from hra_workflow import ROOT

DONE, WRONG, STOPPED = 0, 2, 130  # exit statuses
CONFIG = "config.yaml"
ENDINGS = (".yaml", ".yml", ".json")
DEMO = "demo"  # stands for the config of `hra-workflow demo`, since the folder of its results has none


option = click.option


def own(path: str) -> str:
    """Return the path of a file of the workflow, which is relative to its folder."""
    return path if os.path.samefile(ROOT, ".") else f"{ROOT}/{path}"


def configs(ctx: click.Context, parameter: click.Parameter, words: tuple[str, ...]) -> tuple[str, ...]:
    """Return the config files that the words of a command name, a project's folder by its config.yaml."""
    if words == (DEMO,) and not Path(DEMO, CONFIG).is_file():
        return own("config/demo/config.yaml"), own("config/demo/quick.yaml")
    folders = [word for word in words if Path(word).is_dir()]
    if len(folders) > 1 or (folders and words[0] != folders[0]):
        raise click.UsageError(f"expected one project, found {', '.join(words)}. Name one", ctx)
    return tuple(config_file(word, ctx) for word in words)


def config_file(word: str, ctx: click.Context) -> str:
    from hra_workflow.core.wording import meant

    path = Path(word, CONFIG) if Path(word).is_dir() else Path(word)
    if path.is_file() and path.suffix in ENDINGS:
        return str(path)
    projects = [str(place.parent) for place in Path().glob(f"*/{CONFIG}")]
    found = "another" if path.exists() else "none"
    raise click.UsageError(
        f"{word}: expected a config file, or a folder with {CONFIG} in {Path.cwd()}, found {found}"
        f"{meant(word, projects)}. `hra-workflow new NAME` makes one; --table, --texts and others name tables and data",
        ctx,
    )


def combined(*decorators: Callable) -> Callable:
    """Return one decorator that adds several parameters."""
    return lambda function: reduce(lambda done, one: one(done), reversed(decorators), function)


project = click.argument("project", nargs=-1, type=click.Path(path_type=str), callback=configs, metavar="[PROJECT]")
table = option("--table", metavar="NAME", help="only this table, such as glue or retention")
profile = option("--profile", metavar="NAME", help="of a scheduler: slurm, or another folder of profiles/")
data = option("--data", type=click.Path(exists=True, file_okay=False), help="folder of local files (local_root)")
verbose = click.option("--verbose", is_flag=True, help="show all that Snakemake prints")
cores = option(
    "--cores",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"CPU cores on this machine; default without a profile: {max(2, len(os.sched_getaffinity(0)))}",
)
where = combined(profile, cores, data)
