"""The commands of the package that call Snakemake, here a stand-in, and then read its results."""

import subprocess
from pathlib import Path

import pytest

from hra_results import archive, described, plans, power, publish, report
from hra_workflow.commands import project
from hra_workflow.commands.main import main
from hra_workflow.commands.parameters import DONE, WRONG
from hra_workflow.core.errors import JobError

PLAN = {"version": 1, "config": {}, "jobs": []}
WRITE = """echo '{"version": 1, "config": {}, "jobs": []}'"""
PLANS = f"for one; do case $one in plan_file=*) {WRITE} > ${{one#*=}};; esac; done"
FAILS = "echo Building DAG; echo 'Error: no such key'; exit 1"
EXPORTS = "echo A note.; echo 'The model card: results/x y/hub/best/README.md'"


@pytest.fixture
def called(tmp_path, monkeypatch, capfd):
    """Provide a function that runs a command with a script instead of Snakemake.

    It returns the exit status, the words of each call of Snakemake, and the output. The functions that read the results
    only record their arguments, in the attribute `read`.
    """
    monkeypatch.chdir(tmp_path)
    for name in ("reviews", "mine"):
        Path(name).mkdir()
        Path(name, "config.yaml").write_text(f"pathvars: {{results: {name}/results}}\n")
    started, words = subprocess.Popen, []

    def run(*command: str, snakemake: str = PLANS) -> tuple[int, list[str], str]:
        words.clear()
        run.read.clear()

        def start(of_snakemake: list[str], **options):
            words.append(" ".join(of_snakemake[1:]))
            return started(["sh", "-c", snakemake, *of_snakemake], **options)

        monkeypatch.setattr(project.subprocess, "Popen", start)
        status = main([*command])
        return status, [*words], capfd.readouterr().out

    def record(*arguments) -> int:
        run.read.append(arguments)
        return DONE

    run.read = []
    for module, name in ((archive, "write"), (power, "run"), (publish, "run"), (report, "run")):
        monkeypatch.setattr(module, name, record)
    for name, made in ("chosen", []), ("targets", ["table.csv", "figure.png"]), ("write", Path("made")):
        monkeypatch.setattr(described, name, lambda *_, made=made: made)
    return run


def test_an_archive_is_written_from_the_plan_of_its_tables(called):
    status, (words,), output = called("archive", "reviews", "--table", "glue", "--no-weights", "--to", "my glue.zip")
    assert status == DONE and output == "" and words.endswith(" -- glue")
    assert " -n -q " in words and "--configfile reviews/config.yaml" in words and "--config plan_file=/" in words
    assert called.read == [(PLAN, "glue", "my glue.zip", False)]
    assert called("archive", "reviews")[1][0].endswith(" -- all") and called.read == [(PLAN, "all", None, True)]
    assert called("archive", "--table", "retention")[1][0].endswith(" -- table_retention")
    assert called("archive", "reviews", snakemake=FAILS)[0] == WRONG and not called.read
    assert called("archive", "reviews", snakemake="exit 0")[0] == WRONG and not called.read


def test_only_finished_tables_are_archived(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    jobs = [{"needed": True, "tables": tables, "outputs": [f"{tables}.csv"]} for tables in (["table_glue"], [])]
    message = r"expected finished tables, found 1 jobs that have to run: \['table_glue'\]\.csv\. Run them first \(hra-w"
    with pytest.raises(JobError, match=message):
        archive.write({"version": 1, "basedir": ".", "config": {}, "jobs": jobs})
    assert not [*tmp_path.iterdir()]


def test_the_power_is_that_of_a_plan(called):
    status, (words,), _ = called("power", "reviews", "--table", "glue", "--score", "85", "--deviation", "1.5")
    assert status == DONE and words.endswith(" -- table_glue") and called.read == [(PLAN, 1.0, 85.0, 1.5)]
    assert called("power", "reviews", "--effect", "0.5")[1][0].endswith(" -- all")
    assert called.read == [(PLAN, 0.5, None, None)]


def test_an_export_is_checked_and_published(called):
    run = "reviews/results/glue/cola/hra/r8/seed0"
    asked = ("publish", "reviews", "--run", run, "--weights", "best", "--to", "me/hra")
    status, (words,), output = called(*asked, snakemake=EXPORTS)
    assert status == DONE and output.startswith("A note.\n")
    assert called.read == [(Path("results/x y/hub/best"), "me/hra", Path("results/x y"))]
    assert f'request={{"run": "{run}", "weights": "best", "command": "export"}} -- export' in words
    assert called("publish", "reviews", snakemake=FAILS)[0] == 1 and not called.read
    assert called("publish", "reviews", "--to", "hra-tiny") == (WRONG, [], "")


def test_a_report_is_about_the_results_of_the_project(called):
    words = ("report", "reviews/config.yaml", "mine/config.yaml", "--to", "page.html", "--incomplete")
    status, [plan, made], _ = called(*words)
    assert status == DONE and plan.endswith(" -- all") and made.endswith(" incomplete=True -- table.csv figure.png")
    assert " incomplete=True " in plan and called.read == [(Path("made"), Path("page.html"))]
    assert called(*words, snakemake="exit 1")[0] == 1 and not called.read


def test_a_report_starts_no_training(called, monkeypatch, capfd):
    waiting = {"needed": True, "inputs": [], "outputs": ["train.json"], "tables": ["table_glue"]}
    other = {"needed": True, "inputs": [], "outputs": ["other.json"], "tables": ["table_math"]}
    table = {"needed": False, "inputs": ["train.json"], "outputs": ["table.csv"], "tables": ["table_glue"]}
    monkeypatch.setattr(plans, "made", lambda project, name: (DONE, {"config": {}, "jobs": [waiting, table, other]}))
    assert main(["report", "reviews"]) == WRONG and not called.read
    assert "expected finished tables, found 1 jobs that have to run: train.json" in capfd.readouterr().err


def test_copied_results_and_exports_are_read_without_snakemake(called):
    for folder in (Path("copied"), Path("mine")):  # a copy may be in a folder with a config
        folder.mkdir(exist_ok=True)
        folder.joinpath("contents.json").touch()
        assert called("report", str(folder)) == (DONE, [], "") and called.read == [(folder, None)]
    Path("best").mkdir()
    for name in ("README.md", "adapter_config.json"):
        Path("best", name).touch()
    assert called("publish", "best") == (DONE, [], "") and called.read == [(Path("best"), None)]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("power reviews --table gleu", "gleu"),
        ("publish reviews --to hra-tiny", "--to hra-tiny: expected NAME/REPOSITORY"),
        ("publish export --weights last", "expected no --weights, found it"),
        ("report results --cores 2", "expected no --cores, found it"),
        ("diff a b --config mine", "b, which is not `published`: expected no --config, found it"),
        ("power --score 100 --deviation 1", "--score: expected a number between 0 and 100, found 100"),
        ("power --score 85", "--score, --deviation: expected both or neither, found one. Add the other"),
    ],
)
def test_wrong_options_are_refused_before_snakemake(called, capfd, command, message):
    for path in ("results/contents.json", "export/README.md", "export/adapter_config.json"):
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).touch()
    assert main(command.split()) == WRONG and not called.read
    assert message in capfd.readouterr().err
