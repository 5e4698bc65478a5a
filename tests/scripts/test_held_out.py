"""The held-out share of the training data, and the selection of the best checkpoint on it."""

import numpy as np
import pytest

from hra_workflow import tasks
from hra_workflow.config import validation
from hra_workflow.core import files
from hra_workflow.core.errors import JobError
from hra_workflow.data.held_out import split
from support import method, paper_config

CLASSES = ["no", "yes"]
LABELS = np.array([0] * 70 + [1] * 30)


@pytest.mark.parametrize(("rows", "counts"), [(None, [14, 6]), (1000, [14, 6]), (10, [7, 3])])
def test_every_class_keeps_its_share(rows, counts):
    kept, chosen = split(LABELS, CLASSES, 0.2, rows)
    assert np.bincount(LABELS[chosen]).tolist() == counts
    assert sorted([*kept, *chosen]) == list(range(100))


def test_the_rows_depend_on_the_seed_and_no_class_is_empty():
    first, again, other = (split(LABELS, CLASSES, 0.2, seed=seed) for seed in (0, 0, 1))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert set(first[1]) != set(other[1])
    with pytest.raises(JobError, match=r"no row of class 'yes' is held out: 0\.1 of its 1 training rows"):
        split(np.array([0] * 99 + [1]), CLASSES, 0.1)


def test_the_best_checkpoint_is_selected_without_the_reported_rows(make_run, monkeypatch):
    import evaluate_glue
    import train_glue
    from hra_workflow.models import classifier

    read, tokenized, compute = [], classifier.tokenized, evaluate_glue.compute_scores
    run = make_run(method("hra"), held_out={"share": 0.25, "seed": 0})
    monkeypatch.setattr(classifier, "tokenized", lambda *a, **k: read.append(a[1]) or tokenized(*a, **k))
    monkeypatch.setattr(evaluate_glue, "compute_scores", lambda *a: read.append("trained") or compute(*a))
    train_glue.main(run.train)
    assert read == ["train", "trained", "validation"]
    record = files.read_json(run.train["output"]["record"])
    assert record["steps"] == 10  # two epochs of 72 of the 96 rows, 16 at a time
    evaluate_glue.main(run.evaluate)
    found = files.read_json(run.evaluate["output"]["metrics"])["selections"]
    assert found.keys() == {"last", "best_on_held_out"}
    assert found["best_on_held_out"]["step"] == record["best_step"]


def test_the_option_changes_nothing_else_and_too_few_rows_stop_the_dry_run():
    glue, config = tasks.load(paper_config())["glue"], paper_config()
    config["tasks"]["glue"]["selection"] = "held-out"
    changed = tasks.load(config)["glue"]
    assert changed.selections == ("best_on_held_out", "last")
    settings = changed.hyperparameters("mrpc", "hra/r8")
    assert settings.pop("held_out") == {"share": 0.1, "seed": 0}  # of fewer than 20,000 rows
    assert settings == glue.hyperparameters("mrpc", "hra/r8")
    config["tasks"]["glue"]["held_out"] = {"share": 0.0005}
    with pytest.raises(JobError, match="1 of the 2490 training rows of rte are held out"):
        validation.check(config)
