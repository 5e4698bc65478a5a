"""Sixty jobs of 20 seconds on one GPU of Slurm: time, and calls of sbatch, with and without packs of slurm-packs.

    python packages/slurm_packs/benchmark.py        half an hour; to benchmark.csv next to it

Needs root and Debian's slurmctld, slurmd and slurm-client. Each way has a separate Slurm (tests/slurm/cluster.py) with
one GPU, in separate namespaces; all run at the same time. The jobs sleep, so that those which share the GPU do not slow
each other down, and the queue has no other jobs: packs on a GPU gain at most this, packs in series at least this.
"""

import csv
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
RESULT = PACKAGE / "benchmark.csv"
JOBS, SECONDS = 60, 20
WAYS = {  # executor, resources of the rule
    "Slurm plugin": ("slurm", ""),
    "4 jobs share the GPU": ("slurm-packs", ", jobs_per_gpu=4"),
    "20 jobs in series": ("slurm-packs", ", jobs_per_allocation=20"),
}
SNAKEFILE = """
rule all:
    input: expand("out/{{number}}", number=range({jobs}))

rule minute:
    output: "out/{{number}}"
    resources: gpu=1, mem_mb=500, runtime=5{resources}
    shell: "sleep {seconds}; touch {{output}}"
"""
NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
# Of the configuration, the daemons' sockets and their state.
FOLDERS = ("/etc/slurm", "/run/slurm", "/tmp/hra-slurm")
OWN_SLURM = 'for folder in {0}; do mkdir -p $folder; mount -t tmpfs none $folder; done; exec "$0" "$@"'


def run(way: str, folder: Path) -> dict:
    """Run the jobs in one way on a new Slurm; called in separate namespaces."""
    sys.path.insert(0, str(PACKAGE / "tests/slurm"))
    import cluster

    cluster.NODES, cluster.GPUS = {"node": "fake"}, 1
    executor, resources = WAYS[way]
    (folder / "Snakefile").write_text(SNAKEFILE.format(jobs=JOBS, seconds=SECONDS, resources=resources))
    cluster.up()
    try:
        options = ["--executor", executor, f"--{executor}-status-command", "squeue", "--jobs", str(JOBS), "-q", "rules"]
        start = time.monotonic()
        with (folder / "output").open("w") as output:
            command = [sys.executable, "-m", "snakemake", *options]
            done = subprocess.run(command, cwd=folder, stdout=output, stderr=output)
        if done.returncode:
            raise SystemExit(f"{way} failed:\n{(folder / 'output').read_text()}")
        minutes = (time.monotonic() - start) / 60
        held = cluster.slurm("squeue", "-h", "-t", "all", "-o", "%M").splitlines()
    finally:
        cluster.down()
    gpu_minutes = sum(map(seconds_of, held)) / 60
    row = {"way": way, "sbatch calls": len(held), "minutes": f"{minutes:.1f}", "GPU minutes": f"{gpu_minutes:.1f}"}
    print(row, flush=True)
    return row


def seconds_of(elapsed: str) -> int:
    """Return the seconds of squeue's [hours:]minutes:seconds."""
    return sum(int(part) * 60**power for power, part in enumerate(reversed(re.split(":", elapsed))))


def main() -> None:
    if len(sys.argv) == 3:
        row = run(sys.argv[1], Path(sys.argv[2]))
        with (Path(sys.argv[2]) / "row.csv").open("w", newline="") as stream:
            csv.DictWriter(stream, row).writerow(row)
        return
    script = OWN_SLURM.format(" ".join(FOLDERS))
    with tempfile.TemporaryDirectory() as temporary:
        folders = [Path(temporary) / str(number) for number in range(len(WAYS))]
        started = []
        for way, folder in zip(WAYS, folders, strict=True):
            folder.mkdir()
            command = (*NAMESPACES, "sh", "-c", script, sys.executable, __file__, way, folder)
            started.append(subprocess.Popen(command, env=os.environ | {"TMPDIR": str(folder)}))
            time.sleep(10)  # each takes free ports
        failed = [way for way, one in zip(WAYS, started, strict=True) if one.wait()]
        if failed:
            raise SystemExit(f"failed: {failed}; see the output above")
        rows = [(folder / "row.csv").read_text() for folder in folders]
    RESULT.write_text("way,sbatch calls,minutes,GPU minutes\n" + "".join(rows))
    print(RESULT.read_text(), end="")


if __name__ == "__main__":
    main()
