"""`hra-workflow archive` and `verify`: nothing private, tables made again from the records, and named errors."""

import gzip
import json
import re
import shutil
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from rocrate.rocrate import ROCrate

from archived import ACCOUNT, PRIVATE, write
from hra_results import verify
from hra_results.archives import contents, descriptions, private_values
from hra_workflow.commands.main import main
from hra_workflow.core import files, predictions, records
from hra_workflow.core.errors import JobError
from hra_workflow.data import images
from support import ROOT, paper_config

pytestmark = pytest.mark.slow  # archives of whole projects are written and read

METRICS = "results/glue/cola/hra/r8/seed0/dev/metrics.json"


@pytest.fixture
def copy(made, tmp_path) -> Path:
    return shutil.copytree(made, tmp_path / "copy")


def test_nothing_in_it_is_private_and_it_lists_what_was_replaced(built, made):
    for path in (path for path in made.rglob("*") if path.is_file()):
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode(errors="replace") + str(path)
        for value in (*PRIVATE, str(built["here"]), "/home/", "train.log"):
            assert value not in text, path
    listed = json.loads((made / contents.REPLACED).read_text())
    run = "results/glue/cola/hra/r8/seed0"
    assert listed["left_out"] == ["results/figures/glue_lambda.png: not made yet, or outdated (hra-workflow run)"]
    assert listed["files"][f"{run}/train.json"]["replaced"] == {"path": 1, "host": 1}
    here = Path(built["config"]["pathvars"]["results"])
    assert listed["files"][f"{run}/train.json"]["sha256_before"] == files.sha256(here / f"{run[8:]}/train.json")
    line = predictions.read(made / run / "dev/predictions.jsonl.gz")[0]
    assert line == {"item": 0, "text": "a TOKEN of HOST in PATH, by ACCOUNT", "last": [0.5]}
    config = json.loads((made / f"{run}/last/adapter_config.json").read_text())
    assert config == {"base_model_name_or_path": "resources/models/m"}
    assert "pathvars:\n  results: results\n  resources: resources\n" in (made / contents.CONFIG).read_text()


def test_digests_of_files_with_replacements_fit_each_other(made):
    run = made / "results/glue/cola/hra/r8/seed0"
    record, metrics = records.read(run / "train.json"), records.read(run / "dev/metrics.json")
    assert record[records.SEAL] in metrics["made_from"]["inputs"].values()
    assert {name: files.sha256(run / name) for name in record["weights_sha256"]} == record["weights_sha256"]
    assert predictions.evaluated(run / "dev/metrics.json", metrics)
    assert predictions.read_with_head(run / "dev/predictions.jsonl.gz")[0]["inputs"] == metrics["made_from"]["inputs"]
    assert images.made_from(run / "dev/images.tar")["inputs"] == metrics["made_from"]["inputs"]


def test_it_is_verified_elsewhere_without_the_results_and_stays_as_it_is(copy, tmp_path, monkeypatch, capsys):
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    monkeypatch.chdir(tmp_path)
    assert main(["verify", "copy"]) == 0
    assert "4 tables, made again from the records, are byte-identical" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*")} == before


def test_without_the_workflow_s_folder_all_but_the_tables_is_verified(copy, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(descriptions, "SCRIPTS", tmp_path / "none")
    assert main(["verify", str(copy)]) == 1
    output = capsys.readouterr().out
    assert "8 records are intact; 4 tables were not made again" in output
    assert f"not verified: the tables: expected the scripts that make tables, found no {tmp_path}/none" in output
    edit_score(copy)
    assert main(["verify", str(copy)]) == 2
    assert f"Error: {copy}: {METRICS}: expected SHA-256" in capsys.readouterr().err


def test_without_weights_it_has_no_adapters_and_images_and_is_a_zip_file_that_is_never_replaced(built, tmp_path):
    target = tmp_path / "glue.zip"
    with pytest.MonkeyPatch.context() as patch:
        write(built, patch, to=target, weights=False)
        before = target.read_bytes()
        with pytest.raises(JobError, match=r"glue\.zip: expected no such file, found one\. Name another"):
            write(built, patch, to=target, weights=False)
    assert target.read_bytes() == before and [*tmp_path.iterdir()] == [target]
    with zipfile.ZipFile(target) as opened:
        names = opened.namelist()
    assert not [name for name in names if name.endswith((".safetensors", ".tar"))]
    assert "results/glue/cola/hra/r8/seed0/last/adapter_config.json" in names
    assert verify.verify(target)["records"] == 8

    target.write_bytes(before[: len(before) // 2])
    with pytest.raises(JobError, match=r"glue\.zip: expected a complete zip file, found a damaged one"):
        verify.verify(target)
    damaged = bytearray(before)
    damaged[before.index(b"\x1f\x8b\x08") + 12] ^= 1  # in a gzip file, which is stored as it is
    target.write_bytes(damaged)
    with pytest.raises(JobError, match=r"predictions\.jsonl\.gz: expected an intact file, found Bad CRC-32"):
        verify.verify(target)


def edit(folder: Path, name: str, old: str, new: str) -> None:
    text = (folder / name).read_text()
    assert re.search(old, text)
    (folder / name).write_text(re.sub(old, new, text, count=1))


def edit_score(folder: Path) -> None:
    edit(folder, METRICS, r'"value": 0\.\d', '"value": 0.1')


def list_again(folder: Path, name: str) -> None:
    """Put the SHA-256 of a file into the list, as someone who hides a change."""
    edit(folder, contents.LIST, f"[0-9a-f]{{64}}  {re.escape(name)}\n", f"{files.sha256(folder / name)}  {name}\n")


def edit_listed_score(folder: Path) -> None:
    edit_score(folder)
    list_again(folder, METRICS)


def digest_again(folder: Path) -> None:
    edit_score(folder)
    records.write(folder / METRICS, json.loads((folder / METRICS).read_text()))
    list_again(folder, METRICS)


def other_version(folder: Path) -> None:
    edit(folder, contents.ABOUT, '"version": "[^"]+"', '"version": "9.9.9"')
    list_again(folder, contents.ABOUT)


def other_script(folder: Path) -> None:
    edit(folder, contents.ABOUT, '"script": "compare"', '"script": "publish"')
    list_again(folder, contents.ABOUT)


def other_weights(folder: Path) -> None:
    name = METRICS.replace("dev/metrics.json", "last/adapter_model.safetensors")
    (folder / name).write_bytes(b"other")
    list_again(folder, name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / METRICS).unlink(), rf"expected the \d+ files .*, found no {METRICS}: it was cut"),
        (lambda folder: (folder / "new.csv").touch(), r"expected only the files of .*, found new\.csv\. Remove it"),
        (edit_score, rf"{METRICS}: expected SHA-256 \w+, found \w+\. It was edited or damaged"),
        (edit_listed_score, rf"{METRICS}: expected the content that was written"),
        (digest_again, r"results/runs_glue\.csv: expected the table that collect_runs\.py makes from the archived"),
        (other_version, r"expected an archive of version [\d.]+ of this project, format 1, found version 9\.9\.9"),
        (other_script, r"archive\.json: expected one of .*table_compute, found publish"),
        (other_weights, r"adapter_model\.safetensors: expected SHA-256 \w+, as in .*train\.json, found"),
        (lambda folder: (folder / contents.LIST).unlink(), r"expected .* `hra-workflow archive`, found no manifest"),
        (lambda folder: shutil.rmtree(folder), r"expected a folder or a zip file, found none"),
    ],
)
def test_what_is_wrong_with_an_archive_is_named(copy, change, message):
    change(copy)
    with pytest.raises(JobError, match=f"^{copy}: .*{message}"):
        verify.verify(copy)


def test_a_zip_file_with_names_outside_of_it_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as bad:
        bad.writestr("../outside.txt", "x")
    with pytest.raises(JobError, match=r"bad\.zip: expected names of files in the archive, found '\.\./outside\.txt'"):
        verify.verify(tmp_path / "bad.zip")


def with_file(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    (folder / contents.LIST).write_text(
        f"{(folder / contents.LIST).read_text()}{files.sha256(folder / name)}  {name}\n"
    )


def test_a_large_listed_file_is_not_read_into_memory(copy, tmp_path):
    with_file(copy, "zeros.txt", bytes(60 * 2**20))
    own = {one.relative_to(copy).as_posix(): one for one in copy.rglob("*") if one.is_file()}
    contents.write_zip(tmp_path / "glue.zip", own)
    tracemalloc.start()
    verify.verify(tmp_path / "glue.zip")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30 * 2**20


def test_a_file_that_unpacks_to_much_more_than_its_size_is_refused_before_it_is_unpacked(copy, tmp_path, monkeypatch):
    monkeypatch.setattr(contents, "UNCHECKED", 2**20)
    with zipfile.ZipFile(tmp_path / "zeros.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("zeros.txt", bytes(2**21))
    with pytest.raises(JobError, match=r"zeros\.zip: zeros\.txt: expected a file that unpacks to at most 1 MiB"):
        verify.verify(tmp_path / "zeros.zip")
    with_file(copy, "results/predictions.jsonl.gz", gzip.compress(bytes(2**21)))
    with pytest.raises(JobError, match=r"copy: results/predictions\.jsonl\.gz: expected a file that unpacks to"):
        verify.verify(copy)


HEADER = json.dumps({"__metadata__": {"at": f"/home/{ACCOUNT}/x"}}).encode()


@pytest.mark.parametrize(
    ("name", "changed", "message"),
    [
        (
            "table_glue.csv",
            lambda before: before.replace(b"HRA", b"HRA!", 1),
            r"Nothing was written\. glue: results/table_glue\.csv: expected the",
        ),
        (
            "adapter_model.safetensors",
            lambda _: len(HEADER).to_bytes(8, "little") + HEADER,
            r"adapter_model\.safetensors: expected no path, account, host or token",
        ),
    ],
    ids=["a table that is not that of the records", "a private value in the metadata of weights"],
)
def test_what_cannot_be_archived_is_named(built, tmp_path, monkeypatch, name, changed, message):
    path = next(Path(built["config"]["pathvars"]["results"]).rglob(name))
    before = path.read_bytes()
    path.write_bytes(changed(before))
    try:
        with pytest.raises(JobError, match=message):
            write(built, monkeypatch, to=tmp_path / "glue")
    finally:
        path.write_bytes(before)
    assert not [*tmp_path.iterdir()]


def files_of(action, key: str) -> set[str]:
    found = action.get(key, [])
    return {one.id for one in (found if isinstance(found, list) else [found])}


def test_rocrate_reads_the_jobs_with_their_files_params_and_times(made):
    crate = ROCrate(made)
    assert crate.mainEntity.id.endswith("Snakefile") and "ComputationalWorkflow" in crate.mainEntity.type
    assert {one.id for one in crate.root_dataset["conformsTo"]} >= {"https://w3id.org/ro/wfrun/workflow/0.5"}
    actions = {one.id: one for one in crate.root_dataset["mentions"]}
    train = next(one for one in actions.values() if METRICS.replace("dev/metrics", "train") in files_of(one, "result"))
    assert train["instrument"].id.endswith("workflow/scripts/train_glue.py")
    given = {one.id if one.type == "File" else (one["name"], one.get("value")) for one in train["object"]}
    assert given == {"resources/datasets/cola.manifest.json", ("method", '{"r": 8}')}
    assert (train["startTime"], train["endTime"]) == ("2026-11-18T11:06:40+00:00", "2026-11-18T11:07:40+00:00")
    listed = {line.split("  ", 1)[1] for line in (made / contents.LIST).read_text().splitlines()}
    described = {one.id for one in crate.data_entities} | {contents.CRATE}
    assert described == listed | {contents.LIST}


def test_names_of_tasks_methods_and_common_accounts_are_not_private(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = paper_config()
    for name in ("hra", "root", "glue", "17", "me"):
        found = private_values.of_this_machine(config, ROOT, {"USER": name, "HOSTNAME": "localhost"})
        assert name not in found.names and "localhost" not in found.names
    found = private_values.of_this_machine(config, ROOT, {"USER": "hra-user", "HF_TOKEN": "short"})
    assert found.names["hra-user"] == "account" and "short" not in found.tokens


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/data/me/out/glue/x, /data/me/out2", "results/glue/x, PATH"),
        ("/home/me/project/a.csv and /home/me/project.", "a.csv and .."),
        ("file:///home/me/project/a", "file://a"),
        ("../out/x ../../out/x", "resources/x ../../out/x"),
        ("https://example.org/home/x, 1/2, and/or, </b>", "https://example.org/home/x, 1/2, and/or, </b>"),
        ("alice7 alice7_x/alice7/ malice7 alice77 Alice7", "ACCOUNT ACCOUNT_x/ACCOUNT/ malice7 alice77 Alice7"),
        (f"hf_{'a' * 20}, sk-{'b' * 20}", "TOKEN, TOKEN"),
    ],
)
def test_a_path_becomes_relative_and_other_texts_stay(text, expected):
    folders = {"/data/me/out": "results", "/home/me/project": "", "../out": "resources", "/home/me": "home"}
    assert private_values.Replacements(folders, {"alice7": "account"}).text(text) == expected
