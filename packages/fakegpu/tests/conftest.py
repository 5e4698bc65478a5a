"""Tiny runs of every task; each fixture provides make_run(method, name=…, **settings)."""

import os

import pytest

import control_jobs
import subjects
from rule_jobs import maker
from sums import SUMS, TINY_LLAMA, MathRun, write_sums
from support import DATASET, TINY_MODEL, Run, downloaded, write_sentences

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture
def given(tmp_path):
    (tmp_path / "given").mkdir()
    return tmp_path / "given"


@pytest.fixture
def make_run(tmp_path, given):
    write_sentences(given / "raw")
    return maker(Run, tmp_path, downloaded(given, TINY_MODEL, "glue/tiny", DATASET))


@pytest.fixture
def tiny_math(given):
    """Provide the manifests of a tiny language model and a set of sums."""
    write_sums(given / "raw")
    return downloaded(given, TINY_LLAMA, "math/sums", SUMS)


@pytest.fixture
def make_math_run(tmp_path, tiny_math):
    return maker(MathRun, tmp_path, tiny_math)


@pytest.fixture
def make_subject_run(tmp_path, given):
    made = downloaded(given, subjects.MODEL, "subject/jester-ball", subjects.DATASET)
    return maker(subjects.SubjectRun, tmp_path, made)


@pytest.fixture
def make_control_run(tmp_path, given):
    return maker(control_jobs.ControlRun, tmp_path, control_jobs.prepared(given))
