"""The identity of every job: a digest of what its result is made from, the only param that Snakemake records.

A rule names its settings, and the results before it: `params: **identities.params("train", before=…, method=…)`. All
are functions of wildcards that look into the config, so the identity of any job is known when the plan is made, also of
a job whose outputs a killed Snakemake has deleted. core/made_from.py writes the same content into results and compares
it where they are read. docs/running.md
"""

import ast
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from snakemake.io import IOFile
from snakemake.iocontainers import Wildcards

from hra_workflow.core import made_from

LOST = "lost inputs"
EXACT = 2**53  # every whole float below is an exact integer
Before = Callable[[Mapping], tuple[str, Mapping] | list | None]


@dataclass(frozen=True)
class Stage:
    """The settings and the results before, from which the results of a rule are made.

    settings: values, or functions of wildcards. planned: those that differ before trials have chosen values. before:
    functions of wildcards, see `of`. chosen: function that returns the file with the values that trials choose, or [].
    """

    settings: dict = field(default_factory=dict)
    planned: dict = field(default_factory=dict)
    before: dict[str, Before] = field(default_factory=dict)
    chosen: Callable = lambda wildcards: []


class Identities:
    def __init__(self):
        self.stages: dict[str, Stage] = {}
        self.known: dict[tuple, dict] = {}

    def params(
        self, rule: str, parent: str = "", before=None, planned=None, chosen=None, ordered=False, **settings
    ) -> dict:
        """Return the params of a rule, and remember what its results are made from.

        parent: the rule that it inherits from. ordered: the order of keys in the config changes the result, as that of
        a table's rows. The others: see Stage.
        """
        of = self.stages.get(parent, Stage())
        stage = Stage(
            of.settings | settings, of.planned | (planned or {}), of.before | (before or {}), chosen or of.chosen
        )
        self.stages[rule] = stage
        form = json.dumps if ordered else canonical  # a text keeps the order of keys

        def identity(wildcards) -> str:
            values = {name: form(value_of(value, wildcards)) for name, value in stage.settings.items()}
            digests = {name: made_from.digest_of(one) for name, one in self.before(stage, wildcards).items()}
            return made_from.digest([values, digests])

        def about(wildcards) -> dict:
            return {"settings": list(stage.settings), "before": self.before(stage, wildcards)}

        return unrecorded(**settings, **{made_from.PARAM: about}) | {"identity": identity}

    def before(self, stage: Stage, wildcards) -> dict:
        """Return what the results before a job are expected to be made from, by the name of the input."""
        named = {name: function(wildcards) for name, function in stage.before.items()}
        return {
            name: [self.expected(*each) for each in one] if isinstance(one, list) else self.expected(*one)
            for name, one in named.items()
            if one
        }

    def expected(self, rule: str, wildcards: Mapping) -> dict:
        """Return what the result of a rule's job is made from according to the config, for made_from.check."""
        names = {name: str(value) for name, value in wildcards.items()}
        key = (rule, *sorted(names.items()))
        if key not in self.known:
            stage, values = self.stages[rule], Wildcards(fromdict=names)
            settings = {
                name: canonical(value_of(one, values)) for name, one in (stage.settings | stage.planned).items()
            }
            before = {name: made_from.digest_of(one) for name, one in self.before(stage, values).items()}
            found = {"result": made_from.result(names), "settings": settings, "before": before}
            self.known[key] = found | ({"chosen": chosen} if (chosen := stage.chosen(values)) else {})
        return self.known[key]


def of(rule: str | Callable, wildcards: Callable = dict) -> Before:
    """Return a function of a job's wildcards: the rule and the wildcards of the job before it; None if there is none.

    rule: its name, or a function of wildcards. wildcards: function that returns {} if there is no such job.
    """

    def before(own) -> tuple[str, Mapping] | None:
        found = wildcards(own)
        return (rule(own) if callable(rule) else rule, dict(found)) if found else None

    return before


def unrecorded(**params) -> dict:
    """Return params as functions of `output`, which Snakemake does not record."""
    return {name: of_output(param) for name, param in params.items()}


def of_output(param) -> Callable:
    return lambda wildcards, output: value_of(param, wildcards)


def value_of(param, wildcards):
    if callable(param):
        return param(wildcards)
    return param.format(**wildcards) if isinstance(param, str) else param


def canonical(value):
    """Return an equal value with sorted keys at every depth, and whole numbers as integers."""
    if isinstance(value, Mapping):
        return {key: canonical(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [canonical(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < EXACT else value


def lost_inputs(workflow, output: str) -> Callable:
    """Return a param that changes once whenever an input of the finished file `output` has been deleted since.

    A missing input makes no job run. Afterwards the param keeps its value, so it repeats nothing. The time
    distinguishes a second deletion of the same file from the first. Inputs that the file was not made from are new.
    """

    def param(wildcards) -> list:
        record = workflow.persistence.metadata(IOFile(output.format(**wildcards)))
        if record and (lost := [path for path in record.input if not Path(path).exists()]):
            return [LOST, *lost, record.endtime]
        before = [text for text in (record.params if record else ()) if text.startswith(f"[{LOST!r}")]
        return ast.literal_eval(before[0]) if before else [LOST]

    return param
