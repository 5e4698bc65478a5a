"""Run the probes of `hra-workflow smoke` on a fake GPU: the config that Snakemake's command needs in addition."""

import shlex
import sys

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


def config(card: str) -> dict:
    """Return the keys of Snakemake's --config."""
    command = shlex.join([sys.executable, "-m", "fakegpu.workflow.job", "--card", card])
    return {"preflight": True, "probes": PROBES | {"command": command}}
