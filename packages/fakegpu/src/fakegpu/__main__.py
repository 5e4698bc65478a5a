"""Run a script on a fake GPU (see the package's docstring)."""

import argparse
import json
import sys
import traceback
from pathlib import Path

from fakegpu import cuda, report, run


def main(arguments: list[str]) -> int:
    """Return 0 unless the script fails, and run.KILLED if it killed itself as planned."""
    own, given = arguments, []
    if "--" in arguments:
        own, given = arguments[: arguments.index("--")], arguments[arguments.index("--") + 1 :]
    parser = argparse.ArgumentParser(
        prog="python -m fakegpu",
        description="Run a training script on a GPU that does not exist: memory, waits, time.",
        usage="python -m fakegpu [--card CARD] SCRIPT [JOB.json OUT.json] [-- arguments of a script without a job]",
    )
    parser.add_argument("script", type=Path)
    parser.add_argument("job", type=Path, nargs="?", help="without it, the script runs as __main__")
    parser.add_argument("out", type=Path, nargs="?", help="without it, a report is printed")
    parser.add_argument("--card", default="h100", choices=cuda.CARDS, help="default: h100")
    options = parser.parse_args(own)
    job = json.loads(options.job.read_text()) if options.job else {run.KEY: {"main": None, "arguments": given}}
    try:
        observed, problem = run.observe(options.script.absolute(), job, cuda.CARDS[options.card])
    except cuda.NoDevice as missing:
        print(missing, file=sys.stderr)
        return 1
    if problem:
        traceback.print_exception(problem)
    if options.out:
        return run.save(observed, options.out)
    print("\n".join(report.lines_of(observed)))
    return run.status(observed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
