"""The lock that a killed Snakemake left in this folder."""

import shlex
import subprocess
import sys

from hra_workflow.cost import stale_lock


def remove(command: list[str]) -> int:
    """Remove the lock if the Snakemake that wrote it is known to have ended, on this machine; else print what is known.

    command: Snakemake's with its options, to which --unlock is added. Returns its exit status, 0 without a lock.
    """
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
            f"for that Snakemake. If it is dead, run `{shlex.join([*command, '--unlock'])}`, then the same command.",
            file=sys.stderr,
        )
    return 0
