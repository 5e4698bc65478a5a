"""Remove the lock that a killed Snakemake left in this folder.

    python workflow/scripts/unlock.py SNAKEMAKE [OPTION …]

SNAKEMAKE with its options is the command that is about to run; with --unlock, it removes the lock. That happens only if
the Snakemake that wrote the lock is known to have ended, on this machine. Otherwise the script prints what is known.
"""

import subprocess
import sys

from hra_workflow.cost import stale_lock


def main(command: list[str]) -> int:
    found = stale_lock.state()
    if found == stale_lock.DEAD:
        print("The last Snakemake in this folder was killed. Its lock is removed.", file=sys.stderr, flush=True)
        done = subprocess.run([*command, "--unlock"], capture_output=True, text=True)
        if done.returncode:
            print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
        return done.returncode
    if found:
        print(
            f"Another Snakemake has locked files in this folder ({found}). If the directory cannot be locked now, wait "
            "for that Snakemake. If it is dead, run `snakemake --unlock`, then the same command.",
            file=sys.stderr,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
