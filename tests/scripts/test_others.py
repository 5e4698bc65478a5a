"""What `make others-tests` counts, and the table that it writes; the tests themselves run nightly."""

import dataclasses
import runpy
from types import SimpleNamespace

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from support import ROOT


@pytest.fixture
def plugin(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tests/others")
    monkeypatch.setenv("OTHERS_SUITE", "peft")
    return runpy.run_path(str(ROOT / "tests/others/others_plugin.py"))


def test_a_test_is_counted_once_by_what_happened(plugin):
    reports = [
        {"when": "setup", "outcome": "passed"},
        {"when": "call", "outcome": "passed"},
        {"when": "setup", "outcome": "skipped", "longrepr": ("f.py", 1, "Skipped: test requires CUDA")},
        {"when": "call", "outcome": "skipped", "longrepr": ("f.py", 1, "Skipped: not for HRA")},
        {"when": "call", "outcome": "skipped", "longrepr": ("f.py", 1, "not run: Hub"), "not_run": "Hub"},
        {"when": "call", "outcome": "skipped", "longrepr": object(), "wasxfail": "their own"},
        {
            "when": "call",
            "outcome": "skipped",
            "longrepr": "",
            "wasxfail": "this package adapts convolutions with groups",
        },
        {"when": "call", "outcome": "failed", "longrepr": "assert False"},
        {"when": "teardown", "outcome": "failed", "longrepr": "assert False"},
    ]
    for each in reports:
        flags = {outcome: each["outcome"] == outcome for outcome in ("passed", "skipped", "failed")}
        plugin["pytest_runtest_logreport"](SimpleNamespace(nodeid="t", **{"longrepr": None} | flags | each))
    expected = {"passed": 1, "CUDA": 1, "skipped": 2, "Hub": 1, "differs": 1, "failed": 2}
    assert plugin["counts"] == expected


def test_only_what_needs_the_hub_or_a_later_peft_is_not_a_failure(plugin):
    try:
        try:
            raise LocalEntryNotFoundError("no file")
        except LocalEntryNotFoundError as cause:
            raise OSError("cannot load the model") from cause
    except OSError as error:
        assert plugin["reason"](plugin["errors"](error)) == "Hub"
    refused = ValueError("The version of PEFT you are using is not compatible, please use a version greater than 0.22")
    assert plugin["reason"](plugin["errors"](refused)) == "PEFT"
    assert plugin["reason"](plugin["errors"](AssertionError("Lora should change the output"))) is None


@pytest.fixture
def main(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tests/others")
    return runpy.run_path(str(ROOT / "tests/others/__main__.py"), run_name="others")


def test_tables_keep_the_lines_of_suites_that_were_not_run(main):
    for page in {suite.page for suite in main["SUITES"]}:
        suites = [suite for suite in main["SUITES"] if suite.page == page]
        written = page.read_text().split(main["BEGIN"])[1].split(main["END"])[0]
        assert main["table"]({}, written, suites) == written
        assert len(written.splitlines()) == 2 + len(suites)
        result = {suites[0].name: {"counts": {"passed": 1, "failed": 2}}}
        different = [line for line in main["table"](result, written, suites).splitlines() if line not in written]
        assert len(different) == 1 and different[0].endswith("| 1 | 0 | 0 | 0 | 0 | 0 | 0 |")


def test_a_suite_that_lacks_what_it_needs_is_not_passed(main, monkeypatch, capsys):
    lacking = dataclasses.replace(main["SUITES"][0], lacking=lambda: "needs root")
    monkeypatch.setitem(main["main"].__globals__, "SUITES", [lacking, *main["SUITES"][1:]])
    monkeypatch.setitem(main["main"].__globals__, "prepare", lambda *_: None)
    assert main["main"]([lacking.name]) == 1
    assert f"{lacking.name}: not run: needs root" in capsys.readouterr().out
