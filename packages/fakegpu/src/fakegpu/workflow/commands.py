"""The command that this package adds to `hra-workflow`. Heavy modules are imported when it runs."""

import click

from hra_workflow.commands.main import examples, given
from hra_workflow.commands.parameters import cores, data, option, project, table, verbose

CARDS = ("v100", "rtx4090", "a100-40gb", "a6000", "l40s", "a100", "h100", "h200")


@click.command(
    short_help="run every kind of job on a fake GPU",
    **examples("rehearse reviews", "rehearse --table glue --card a100"),
)
@project
@table
@option("--card", type=click.Choice(CARDS), help="GPU that the jobs are for; default: h100")
@cores
@data
@verbose
def rehearse(project: tuple[str, ...], table: str | None, card: str | None, **where) -> int:
    """Run every kind of job at its real size on a fake GPU, to find its memory, waits and wrong devices.

    It needs no GPU and no Hugging Face Hub, and a C++ compiler. `hra-workflow plan` then shows memory and hours.
    """
    from fakegpu.workflow import probes

    asked = given(project, **where)
    name = asked.table(table)
    target = f"preflight_{name}" if name else "preflight"
    return asked.start(target, options=("--keep-going",), **probes.config(card or "h100"))
