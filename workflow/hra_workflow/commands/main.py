"""The interface of `hra-workflow`: its commands, options and help texts.

This module imports nothing that takes time; a command imports what it needs when it runs.
"""

import os
import sys
from importlib.metadata import entry_points
from pathlib import Path

import click

from hra_workflow import ROOT
from hra_workflow.commands.parameters import (
    DONE,
    STOPPED,
    WRONG,
    combined,
    cores,
    data,
    option,
    own,
    project,
    table,
    verbose,
    where,
)

COMMANDS = "hra_workflow.commands"  # the group of entry points with which packages add commands
TASKS = click.Choice(sorted(path.stem for path in Path(ROOT, "rules/tasks").glob("*.smk")))


class Commands(click.Group):
    """The workflow's commands in the order of their definition, then those of installed packages."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        self.load()
        return list(self.commands)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Return a command; those of packages are imported if the name is none of the workflow's."""
        if name not in self.commands:
            self.load()
        return self.commands.get(name)

    def load(self) -> None:
        """Add the commands of packages."""
        for entry in sorted(entry_points(group=COMMANDS), key=lambda entry: entry.name):
            if entry.name not in self.commands:
                self.add_command(entry.load(), entry.name)


def examples(*lines: str) -> dict[str, str]:
    """Return the end of a help text, with one example per line."""
    return {"epilog": "\b\nExamples:\n" + "\n".join(f"  hra-workflow {line}" for line in lines)}


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
First steps:
  hra-workflow new reviews --demo       a folder with a config and example data
  hra-workflow plan reviews             jobs, hours; runs nothing
  hra-workflow run reviews              all tables and figures

\b
Exit status: 0: done. 1: it failed, or a comparison or check found something; the message is above.
2: the command line or an input is wrong; nothing was started. 130: stopped with Ctrl-C.

\b
Completion of words with Tab, in ~/.bashrc (zsh, fish: the same with zsh_source, fish_source):
  eval "$(_HRA_WORKFLOW_COMPLETE=bash_source hra-workflow)\"""",
)
def commands() -> None:
    """Fine-tune with HRA and its baselines, and make the tables of the paper (arXiv 2405.17484) or of your data.

    PROJECT is a folder with a config.yaml, or config files, of which later ones are merged over earlier ones, or demo;
    without it, a command is about the paper's tables. Each command that runs Snakemake prints Snakemake's command.
    """


def given(configs: tuple[str, ...], **words):
    """Return the project of a command."""
    from hra_workflow.commands.project import Project

    return Project(configs, **words)


@commands.command(
    short_help="make a project: a folder with a config and example data",
    **examples("new reviews", "new faces --task control --demo"),
)
@click.argument("name")
@option("--task", type=TASKS, help="glue (default): texts; math: questions; subject, control: images")
@click.option("--demo", is_flag=True, help="with the demo's small models instead of the paper's: no GPU needed")
def new(name: str, task: str | None, demo: bool) -> int:
    """Make a project: the folder NAME with a config, example data and places for results."""
    from hra_workflow.commands import new as project

    project.create(name, task or "glue", demo)
    return DONE


@commands.command(
    short_help="estimate jobs, hours and downloads; runs nothing",
    **examples("plan", "plan --table glue --profile slurm", "plan reviews", "plan mine.yaml other.yaml"),
)
@project
@table
@where
@click.option("--verbose", is_flag=True, help="also every job and why it runs")
def plan(project: tuple[str, ...], table: str | None, **where) -> int:
    """Estimate the cost: jobs, hours, downloads, licences; say what would run again, and where. Runs nothing."""
    asked = given(project, **where)
    name = asked.table(table)
    return asked.plan(f"table_{name}" if name else "all")


@commands.command(
    name="config",
    short_help="print the complete config, with the file of every value",
    **examples("config reviews", "config mine.yaml --key tasks.glue.resources"),
)
@project
@click.option("--key", default="", help="only this key and those below it, such as tasks.glue.resources")
def complete_config(project: tuple[str, ...], key: str) -> int:
    """Print every value of the complete config, and the file that it comes from."""
    from hra_workflow.commands import show_config

    show_config.show(given(project).files(), key)
    return DONE


@commands.command(
    short_help="make all tables, figures and sheets",
    **examples("run reviews", "run --task glue --profile slurm", "run mine.yaml --cores 8"),
)
@project
@option("--task", type=TASKS, help="only the tables, figures and sheets of this task")
@table
@where
@click.option("--verbose", is_flag=True, help="show Snakemake's own messages, with the reason of every job")
def run(project: tuple[str, ...], task: str | None, table: str | None, **where) -> int:
    """Make all tables, figures and sheets; print the tables. Finished jobs that no change affects do not run again."""
    if task and table:
        raise click.UsageError(f"expected --task or --table, found both ({task}, {table}). Keep one")
    asked = given(project, **where)
    name = asked.table(table)
    return asked.start(f"table_{name}" if name else asked.task(task) or "all")


@commands.command(
    short_help="show the progress and the errors of the last run",
    **examples("status", "status reviews", "status --table glue"),
)
@project
@table
def status(project: tuple[str, ...], table: str | None) -> int:
    """Show the progress of the last run: jobs done, running, waiting and failed, with the ends of failed logs."""
    from hra_workflow.commands import status

    status.print_progress(given(project), table)
    return DONE


@commands.command(
    short_help="run one short job of every kind",
    **examples("smoke --table glue --profile slurm", "smoke reviews"),
)
@project
@table
@where
@verbose
def smoke(project: tuple[str, ...], table: str | None, **where) -> int:
    """Run one short job of every kind, before GPU-hours are spent."""
    asked = given(project, **where)
    name = asked.table(table)
    target = f"preflight_{name}" if name else "preflight"
    return asked.start(target, options=("--retries", "1"), preflight=True)


run_option = option("--run", metavar="RUN", help="folder of a run; default: the best one of the table")
weights = option(
    "--weights",
    metavar="NAME",
    help="last, best, or a step of a subject's run; default: those of the table, of a named run the last",
)
a_run = combined(project, run_option, weights)
a_file = click.Path(exists=True, dir_okay=False)


@commands.command(
    short_help="write a run's adapter for the Hugging Face Hub",
    **examples("export reviews", "export --run results/glue/cola/hra/r8/seed0 --weights best"),
)
@a_run
@verbose
def export(project: tuple[str, ...], verbose: bool, **request) -> int:
    """Write a run's adapter for the Hugging Face Hub, with an equivalent LoRA (of HRA) and a model card."""
    return given(project, verbose=verbose).request("export", "export_adapter", request)


@commands.command(
    short_help="predict for new texts, prompts or images",
    **examples("predict reviews --texts new.csv", "predict faces --controls folder --seed 3"),
)
@a_run
@option("--texts", type=a_file, help="GLUE: .csv or another table with a column per text")
@option("--prompts", type=a_file, help="other tasks: .txt with a prompt or question per line, or a table")
@option("--images", type=click.Path(exists=True), help="control: image or folder, from which control images are made")
@option("--controls", type=click.Path(exists=True), help="control: control image, or folder of them")
@option("--seed", type=int, help="of generated images")
@where
@verbose
def predict(project: tuple[str, ...], run, weights, texts, prompts, images, controls, seed, **where) -> int:
    """Predict for new texts, prompts or images with a trained run."""
    asked = {"run": run, "weights": weights, "texts": texts, "prompts": prompts, "images": images}
    asked |= {"controls": controls, "seed": seed if seed is None else str(seed)}
    return given(project, **where).request("predict", "predict_inputs", asked)


@commands.command(
    short_help="run the whole chain with small models, in 3 to 5 minutes",
    **examples("demo", "demo all", "demo glue --data ../shared/data"),
)
@click.argument("task", required=False, type=click.Choice([*TASKS.choices, "all", "tune"]))
@data
@cores
@verbose
def demo(task: str | None, data: str | None, **where) -> int:
    """Run the whole chain with small models: a text classifier and image generation, in 3 to 5 minutes on two cores.

    all: the four tasks; tune: with trials of hyper-parameters. --data: with the datasets in this folder.
    """
    if data and task == "tune":
        raise click.UsageError("tune: expected no --data, found one. Leave it out: the trials are of the demo's texts")
    overlay = "real_data" if data else {None: "quick", "tune": "tune"}.get(task)
    from hra_workflow.commands.project import Project

    paths = [own(f"config/demo/{name}.yaml") for name in ("config", overlay) if name]
    return Project(tuple(paths), data=data, **where).start(task if task in TASKS.choices else "all")


def run_main() -> None:
    """Run the command of the command line."""
    sys.exit(main())


def main(words: list[str] | None = None) -> int:
    """Run the command that the words name, those of the command line by default; return its exit status."""
    from hra_workflow.core.errors import JobError

    try:
        return commands.main(words, prog_name="hra-workflow", standalone_mode=False) or DONE
    except click.exceptions.NoArgsIsHelpError as problem:
        problem.show()
        return WRONG
    except click.UsageError as problem:
        command = problem.ctx.command_path if problem.ctx else "hra-workflow"
        print(f"Error: {one_line(problem.format_message())} ({command} --help)", file=sys.stderr)
        return WRONG
    except BrokenPipeError:  # of `| head`, which has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except (JobError, click.ClickException, OSError) as problem:
        print(f"Error: {one_line(str(problem))}", file=sys.stderr)
        return WRONG
    except (click.Abort, KeyboardInterrupt):
        return STOPPED


def one_line(text: str) -> str:
    return " ".join(text.split())
