"""Fixtures of all tests."""

import gc
import json
import os
from collections import Counter

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

import subjects
from rule_jobs import maker
from sums import SUMS, TINY_LLAMA, MathRun, write_sums
from support import DATASET, TINY_MODEL, Run, downloaded, write_sentences
from timeouts import time_limit

hypothesis.settings.register_profile("any time", deadline=None)  # other processes share the cores
hypothesis.settings.load_profile("any time")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("PYTHONFAULTHANDLER", "1")  # a process that hangs says where, when its time is over (project.py)
os.environ["HF_HUB_OFFLINE"] = "1"
for name in ("MAKEFLAGS", "MFLAGS", "VENV", "PINS"):  # of `make compat`: a `make` in a test would install them again
    os.environ.pop(name, None)


def group(nodeid: str) -> str:
    """Return the group of tests that share a process: one per file, and one for those that share a Slurm cluster."""
    file = nodeid.partition("::")[0]
    return "Slurm" if "/tests/slurm/" in file else file


class ByGroup(LoadScopeScheduling):
    _split_scope = staticmethod(group)


def pytest_xdist_make_scheduler(config, log):
    config.option.loadscopereorder = False  # as the tests were collected
    return ByGroup(config, log)


def pytest_collection_modifyitems(items):
    """Start with the groups that may take longest, so that no process is left with one of them at the end.

    `make fast` leaves out what is `full` as well as what is `slow`.
    """
    for item in items:
        if item.get_closest_marker("full"):
            item.add_marker(pytest.mark.slow)
    longest, all_together = Counter(), Counter()
    for item in items:
        name, seconds = group(item.nodeid), time_limit(item)
        longest[name] = max(longest[name], seconds)
        all_together[name] += seconds
    items.sort(key=lambda item: (-longest[group(item.nodeid)], -all_together[group(item.nodeid)], group(item.nodeid)))


def pytest_terminal_summary(terminalreporter):
    """State in one line what skipped tests need."""
    skipped = terminalreporter.stats.get("skipped", [])
    counts = Counter(one.longrepr[2].removeprefix("Skipped: ") for one in skipped if isinstance(one.longrepr, tuple))
    if counts:
        terminalreporter.write_line("Skipped: " + "; ".join(f"{n} ({reason})" for reason, n in counts.most_common()))


@pytest.fixture(scope="module", autouse=True)
def frozen():
    """Keep what is loaded out of garbage collections: each Trainer makes one, which took most of a tiny training."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Work in an empty folder; here(path, content) writes a JSON file."""
    monkeypatch.chdir(tmp_path)

    def write(path: str, content: dict) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(json.dumps(content))

    return write


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Manifests of a tiny classifier and a tiny dataset."""
    root = tmp_path_factory.mktemp("resources")
    write_sentences(root / "raw")
    return downloaded(root, TINY_MODEL, "glue/tiny", DATASET)


@pytest.fixture(scope="session")
def tiny_math(tmp_path_factory):
    """Manifests of a tiny language model and a set of sums."""
    root = tmp_path_factory.mktemp("math")
    write_sums(root / "raw")
    return downloaded(root, TINY_LLAMA, "math/sums", SUMS)


@pytest.fixture(scope="session")
def tiny_subject(tmp_path_factory):
    """Manifests of a tiny Stable Diffusion and of a subject with three images."""
    root = tmp_path_factory.mktemp("subject")
    return downloaded(root, subjects.MODEL, "subject/jester-ball", subjects.DATASET)


@pytest.fixture(scope="session")
def tiny_control(tmp_path_factory):
    """Manifests of the demo's tiny Stable Diffusion, of scenes, and of their control images of every kind."""
    import control_jobs

    return control_jobs.prepared(tmp_path_factory.mktemp("control"))


@pytest.fixture
def make_run(tmp_path, tiny):
    """Provide make_run(method, name=…, **settings)."""
    return maker(Run, tmp_path, tiny)


@pytest.fixture
def make_math_run(tmp_path, tiny_math):
    """Provide make_run for a language model."""
    return maker(MathRun, tmp_path, tiny_math)


@pytest.fixture
def make_subject_run(tmp_path, tiny_subject, fresh_accelerator):
    """Provide make_run for a Stable Diffusion, with its class images."""
    return maker(subjects.SubjectRun, tmp_path, tiny_subject)


@pytest.fixture
def make_control_run(tmp_path, tiny_control, fresh_accelerator):
    """Provide make_run for a Stable Diffusion with control images."""
    import control_jobs

    return maker(control_jobs.ControlRun, tmp_path, tiny_control)


@pytest.fixture
def fresh_accelerator():
    """Forget the state of accelerate, which has one per process, after a test that trains in this process."""
    from accelerate.state import AcceleratorState

    yield
    AcceleratorState._reset_state(reset_partial_state=True)
