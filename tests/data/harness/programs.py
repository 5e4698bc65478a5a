"""A benchmark that is scored like HumanEval, by the package evaluate's `code_eval`, which is not in this repository."""

from types import SimpleNamespace

scorer = SimpleNamespace(name="code_eval")


def programs(resps, docs):
    return [[f"{doc['program']}{resp}'" for resp in answers] for answers, doc in zip(resps, docs, strict=True)]


def pass_at_1(references, predictions):
    raise AssertionError("lm-eval must not execute programs")
