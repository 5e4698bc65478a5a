"""An error in the user's data on a real Slurm: the next attempt is a job of its own, which ends at once."""

from grid import PROGRAM, QUICK
from project import Project
from support import ROOT

SNAKEFILE = """
from hra_workflow.core import launcher

launcher.name_this_process(workflow.is_main_process)


rule attempt:
    output:
        file="out",
    log:
        "log",
    script:
        "script.py"
"""
SCRIPT = """
from hra_workflow.core.errors import JobError, final_errors
from hra_workflow.core.job import start

@final_errors()
def main(job):
    print("tried")
    raise JobError("expected a, found b, do c")

start(main, __file__, snakemake)
"""


def test_a_final_error_is_not_tried_again(cluster, tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "script.py").write_text(SCRIPT)
    Project(tmp_path).snakemake("--profile", str(ROOT / "slurm"), *QUICK, "--retries", "1", ok=False, program=PROGRAM)
    log = (tmp_path / "log").read_text()
    assert log.count("=== ") == 2 and log.count("tried\n") == 1
    assert log.count("not tried again: JobError: expected a, found b, do c") == 1
