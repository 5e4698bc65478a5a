"""Fixtures of the scripts' tests."""

import pytest

from hra_workflow.data import http_download
from loopback import hub_server, loopback  # noqa: F401  (fixtures)
from served import CONTENT, PATH


@pytest.fixture
def patient(monkeypatch):
    monkeypatch.setattr(http_download, "BACKOFF", 0.0)
    monkeypatch.setattr(http_download, "CHUNK", 1 << 14)


@pytest.fixture
def server(loopback):  # noqa: F811
    loopback.files[PATH] = CONTENT
    return loopback
