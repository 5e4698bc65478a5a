"""Which programs are executed, how they are scored, and that a program can change no outcome but its own."""

import shutil
from types import SimpleNamespace

import pytest

from hra_workflow.core.errors import JobError
from hra_workflow.tasks.math import programs, sandbox
from support import require


def code_task(*metrics, **names):
    """Build a task, with a metric that uses these names."""
    function = eval("lambda references, predictions: 0", names)
    return SimpleNamespace(config=SimpleNamespace(metric_list=[{"metric": function}, *metrics]))


def test_only_programs_that_code_eval_scores_are_executed():
    """For other tasks (CRUXEval, LongProc), an answer followed by the target is no program with its tests."""
    programs.check_task("X", code_task({"metric": "acc"}, compute_=SimpleNamespace(name="code_eval")))
    for task in (code_task(other=SimpleNamespace(name="accuracy")), code_task({"metric": "acc"}), None):
        with pytest.raises(JobError, match="benchmark X: expected a single task that lm-eval scores with `code_eval`"):
            programs.check_task("X", task)


def sample(item: int, *candidates: str) -> dict:
    """Build a sample as the harness logs it; `filtered_resps` contains a list per request."""
    target = "assert add(1, 2) == 3"
    return {"doc_id": item, "doc": {}, "target": target, "filter": "f", "filtered_resps": [list(candidates)]}


CORRECT, WRONG = "def add(a, b): return a + b", "def add(a, b): return a * b"
# What no test in the same interpreter can notice.
LIAR = "class Any:\n    def __eq__(self, other): return True\ndef add(a, b): return Any()"
FORGER = """
import os, sys
frame = sys._getframe()
while frame:
    for value in [*frame.f_locals.values()]:
        if isinstance(value, dict) and "token" in value:
            os.write(3, value["token"].encode())
            os._exit(0)
    frame = frame.f_back
"""


def test_a_program_can_only_lie_about_itself():
    require(shutil.which("bwrap") is not None, "bubblewrap is not installed")
    benchmark = {"task": "t", "metric": "pass@1"}
    for lie in (LIAR, FORGER):
        samples = [sample(0, WRONG), sample(1, lie), sample(2, WRONG), sample(3, CORRECT)]
        scored, outcomes = programs.score("X", benchmark, {"samples": {"t": samples}, "versions": {"t": 1}})
        assert [one["outcome"] for one in outcomes] == ["failed", "passed", "failed", "passed"]
        values = {"pass@1,f": 0.5, "pass@1_stderr,f": pytest.approx(3**-0.5 / 2), "sample_len": 4}
        assert scored["results"]["t"] == values and scored["versions"] == {"t": 1}


def test_pass_at_k_is_estimated_from_all_answers(monkeypatch):
    monkeypatch.setattr(programs.isolation, "run", lambda text: ("passed" if CORRECT in text else "failed", ""))
    samples = [sample(0, CORRECT, WRONG, WRONG), sample(1, WRONG, WRONG, WRONG)]
    scored, outcomes = programs.score("X", {"task": "t", "metric": "pass@2"}, {"samples": {"t": samples}})
    assert scored["results"]["t"]["pass@2,f"] == pytest.approx((2 / 3 + 0) / 2)
    assert [(one["item"], one["sample"]) for one in outcomes] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    with pytest.raises(JobError, match="pass@4 needs 4 answers per item, and the task has 3"):
        programs.score("X", {"task": "t", "metric": "pass@4"}, {"samples": {"t": samples}})


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (("builtins:eval", f"len(bytes({sandbox.MEMORY}))"), TimeoutError, None),
        (("os:_exit", 3), RuntimeError, "exit status 3"),
        (("no_such_module:f",), ImportError, "no_such_module"),
    ],
)
def test_memory_is_limited_and_a_call_that_fails_leaves_the_next_one_usable(call, error, message):
    with pytest.raises(error, match=message):
        sandbox.call(*call)
    assert sandbox.call("builtins:abs", -1) == 1
