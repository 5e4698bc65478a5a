"""Run every kind of job of a table on a fake GPU: the command `hra-workflow rehearse`.

    python -m fakegpu.workflow [--card h100] [--table glue] -- snakemake --cores 2 …

It adds to Snakemake's command that `hra-workflow smoke`'s probes are to run on the card.
"""

import argparse
import os
import shlex
import sys

from fakegpu import cuda
from fakegpu.workflow.findings import NAME, TOKENS

PROBES = {
    "folder": NAME,
    "steps": 4,
    "kill_at": 1,
    "threads": 1,
    "tokens": TOKENS,
    "models": "fakegpu.workflow.model_sizes:source",
    "report": "fakegpu.workflow.findings:finish",
}


def options(card: str, table: str = "") -> list[str]:
    """Return what Snakemake's command needs in addition."""
    command = shlex.join([sys.executable, "-m", "fakegpu.workflow.job", "--card", card])
    probes = ", ".join(f"{name}: '{value}'" for name, value in (PROBES | {"command": command}).items())
    target = f"preflight_{table}" if table else "preflight"
    return ["--config", "preflight=jobs", f"probes={{{probes}}}", "--", target]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m fakegpu.workflow", description=__doc__.partition("\n")[0])
    parser.add_argument("--card", default="h100", choices=cuda.CARDS)
    parser.add_argument("--table", default="", help="all tables if not given")
    parser.add_argument("snakemake", nargs="+", help="Snakemake's command, after --")
    arguments = parser.parse_args()
    os.execvp(arguments.snakemake[0], [*arguments.snakemake, *options(arguments.card, arguments.table)])
