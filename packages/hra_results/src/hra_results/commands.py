"""The commands that this package adds to `hra-workflow`: their interface. Heavy modules are imported when one runs."""

from collections.abc import Callable
from pathlib import Path

import click

from hra_results import STYLES
from hra_workflow.commands.main import examples, given, run_option, weights
from hra_workflow.commands.parameters import CONFIG, DEMO, configs, data, option, project, table, verbose, where


def project_or_folder(is_folder: Callable[[Path], bool], metavar: str) -> Callable:
    """Return the argument for a project, or for a folder that is read as it is, wherever it is from."""

    def found(ctx: click.Context, parameter: click.Parameter, words: tuple[str, ...]):
        if len(words) == 1 and is_folder(Path(words[0])):
            return Path(words[0])
        try:
            return configs(ctx, parameter, words)
        except click.UsageError as problem:
            raise click.UsageError(f"{problem.message}, or name {metavar.strip('[]')}", ctx) from problem

    return click.argument("project", nargs=-1, type=click.Path(path_type=str), callback=found, metavar=metavar)


def is_results(path: Path) -> bool:
    """Return whether a folder has a list of its results, or no config, so that it is no project."""
    return path.joinpath("contents.json").is_file() or (
        path.is_dir() and not path.joinpath(CONFIG).is_file() and str(path) != DEMO
    )


def is_export(path: Path) -> bool:
    return all(path.joinpath(name).is_file() for name in ("README.md", "adapter_config.json"))


def expect_none(options: dict, where: str) -> None:
    """Raise click.UsageError for options that would be ignored."""
    if given := [f"--{name}" for name, value in options.items() if value]:
        raise click.UsageError(f"{where}: expected no {', '.join(given)}, found it. Leave it out")


@click.command(
    short_help="write finished tables, figures and runs to one HTML file",
    **examples("report reviews", "report demo", "report copied/results --to page.html"),
)
@project_or_folder(is_results, "[PROJECT|RESULTS]")
@option("--to", type=click.Path(path_type=Path), metavar="PAGE", help="default: report.html in the folder of results")
@click.option("--incomplete", is_flag=True, help="cover the results that exist while others are missing")
@where
@verbose
def report(project: tuple[str, ...] | Path, to: Path | None, incomplete: bool, **where) -> int:
    """Write finished tables, figures and every run to one HTML file. Missing figures are made; nothing is trained.

    RESULTS is a folder of results with contents.json, such as a copy from another machine: it is read as it is.
    """
    from hra_results import archive, described, plans, report

    if isinstance(project, Path):
        expect_none(where | {"incomplete": incomplete}, f"{project}, whose results are read as they are")
        return report.run(project, to)
    asked, options = given(project, **where), {"incomplete": True} if incomplete else {}
    status, plan = plans.made(asked, "all", **options)
    if status:
        return status
    chosen = described.chosen(plan)
    targets = described.targets(plan["config"], chosen)
    archive.finished(plans.of_files(plan, targets))
    return asked.start(*targets, **options) or report.run(described.write(plan["config"], chosen), to)


@click.command(
    short_help="print which differences the tables can show",
    **examples("power reviews", "power --table glue --effect 0.5", "power --score 85 --deviation 1.5"),
)
@project
@table
@option("--effect", type=float, metavar="POINTS", help="difference that the power is computed for; default: 1")
@option("--score", type=float, metavar="PERCENT", help="before runs have finished: percentage of right answers")
@option("--deviation", type=float, metavar="POINTS", help="with --score: standard deviation between seeds")
@data
@verbose
def power(project: tuple[str, ...], table: str | None, effect, score, deviation, **where) -> int:
    """Print which differences between two runs the tables can show, and seeds and hours for one of EFFECT points."""
    from hra_results import plans, power

    effect = 1.0 if effect is None else effect
    power.check(effect, score, deviation)
    asked = given(project, **where)
    name = asked.table(table)
    status, plan = plans.made(asked, f"table_{name}" if name else "all")
    return status or power.run(plan, effect, score, deviation)


@click.command(
    short_help="compare two folders of results, methods or runs",
    **examples(
        "diff ../old/results results",
        "diff results/glue/cola/lora/r8 results/glue/cola/hra/r8",
        "diff results/glue/cola/hra/r8 published",
    ),
)
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option(
    "--config", multiple=True, callback=configs, metavar="PROJECT", help="whose config names the published numbers"
)
@option("--to", metavar="PAGE", help="path of the page, a new file; default: a name for A and B in diffs/")
def diff(a: str, b: str, config: tuple[str, ...], to: str | None) -> int:
    """Compare two states: settings, libraries, data and code, then numbers, then single items.

    A and B are folders of results, of a run, or anything between them, such as a method variant with its seeds. B may
    be `published`: the rows of config/published for the runs of A. Exit status: 0 if all numbers are equal within
    rounding, 1 if not, 2 for wrong input.
    """
    from hra_results import diff

    if b != diff.PUBLISHED:
        expect_none({"config": config}, f"{b}, which is not `{diff.PUBLISHED}`")
    return diff.run(a, b, to, config)


@click.command(
    short_help="write finished tables with all their files to a zip file",
    **examples("archive reviews", "archive --table glue --no-weights --to glue.zip"),
)
@project
@table
@option(
    "--to",
    metavar="FILE",
    help="new zip file or folder; default: archive_all.zip or archive_TABLE.zip",
)
@click.option("--no-weights", is_flag=True, help="without adapters and generated images")
@data
@verbose
def archive(project: tuple[str, ...], table: str | None, to: str | None, no_weights: bool, **where) -> int:
    """Write finished tables with records, predictions, adapters, config and environment, without private values.

    The table of a task comes with its figures. Nothing is trained, and no existing file is replaced.
    """
    from hra_results import archive, plans

    asked = given(project, **where)
    name = asked.table(table)
    status, plan = plans.made(asked, plans.target(name) if name else "all")
    if not status:
        archive.write(plan, name or "all", to, not no_weights)
    return status


@click.command(
    short_help="check an archive, and make its tables again",
    **examples("verify results/archive_all.zip"),
)
@click.argument("archive")
def verify(archive: str) -> int:
    """Check an archive, anywhere: its files and records, and its tables, which are made again.

    ARCHIVE is a zip file or a folder. Exit status: 0 if all is right; 1 if the tables could not be made again, since
    this is no clone of the project; 2 if something is wrong.
    """
    from hra_results import verify

    return verify.run(archive)


@click.command(
    short_help="check an export for the Hugging Face Hub, and upload it",
    **examples("publish reviews", "publish reviews --to me/reviews-hra", "publish copied/hub/best --to me/reviews-hra"),
)
@project_or_folder(is_export, "[PROJECT|EXPORT]")
@run_option
@weights
@option("--to", metavar="NAME/REPOSITORY", help="repository on the Hub; default: nothing is uploaded")
@verbose
def publish(project: tuple[str, ...] | Path, to: str | None, verbose: bool, **request) -> int:
    """Export a run's adapter, check the files and list them; upload them only if a repository is named.

    EXPORT is the folder of an export, such as a copy from another machine.
    """
    from hra_results import publish

    publish.check_name(to)
    if isinstance(project, Path):
        expect_none(request, f"{project}, an export")
        return publish.run(project, to)
    cards: list[str] = []
    status = given(project, verbose=verbose).request("export", "export_adapter", request, cards.append)
    if status:
        return status
    folder = publish.folder_of(cards)
    return publish.run(folder, to, folder.parents[1])


@click.command(
    short_help="grade your answers as the tables of mathematics do",
    **examples("grade answers.jsonl", "grade answers.csv --style boxed --output response --answer target"),
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@option("--style", type=click.Choice(STYLES), help="of the reference answers; default: gsm8k")
@option("--output", metavar="COLUMN", help="of the outputs; default: output")
@option("--answer", metavar="COLUMN", help="of the reference answers; default: answer")
def grade(file: Path, style: str | None, output: str | None, answer: str | None) -> int:
    """Grade your outputs with every grader of the tables of mathematics.

    FILE (.csv, .tsv, .json, .jsonl or .parquet) has an output and a reference answer per row. The reference is marked
    as in the benchmarks (gsm8k: #### N, boxed: \\boxed{N}, metamath: The answer is: N); without a mark it is the
    complete text. With gsm8k, answers are compared as numbers, otherwise as expressions.
    """
    from hra_results import grade

    return grade.run(file, style or "gsm8k", output or "output", answer or "answer")
