"""Fixtures of the scripts' tests."""

import pytest

from hra_workflow.data import http_download
from loopback import hub_server, loopback  # noqa: F401  (fixtures)
from rule_jobs import maker, train
from served import CONTENT, PATH
from subjects import SubjectRun, unet_method
from sums import MathRun, math_method


@pytest.fixture
def patient(monkeypatch):
    monkeypatch.setattr(http_download, "BACKOFF", 0.0)
    monkeypatch.setattr(http_download, "CHUNK", 1 << 14)


@pytest.fixture
def server(loopback):  # noqa: F811
    loopback.files[PATH] = CONTENT
    return loopback


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory, tiny_math):
    run = maker(MathRun, tmp_path_factory.mktemp("trained"), tiny_math)(math_method("hra"), epochs=3)
    train(run)
    return run


@pytest.fixture
def trained(trained_once, tmp_path):
    """Provide a copy of a run of a language model that has been trained."""
    return trained_once.copy(tmp_path / "run")


@pytest.fixture(scope="session")
def trained_subject_once(tmp_path_factory, tiny_subject):
    from accelerate.state import AcceleratorState

    run = maker(SubjectRun, tmp_path_factory.mktemp("trained"), tiny_subject)(unet_method())
    train(run)
    AcceleratorState._reset_state(reset_partial_state=True)
    return run


@pytest.fixture
def trained_subject(trained_subject_once, tmp_path):
    """Provide a copy of a run of a subject that has been trained."""
    return trained_subject_once.copy(tmp_path / "run")
