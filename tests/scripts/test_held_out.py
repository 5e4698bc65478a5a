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


def test_the_rows_depend_on_the_seed_alone():
    first, again, other = (split(LABELS, CLASSES, 0.2, seed=seed) for seed in (0, 0, 1))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert set(first[1]) != set(other[1])


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ([0] * 99 + [1], {"share": 0.1}, "no row of class 'yes' is held out: 0.1 of its 1 training rows"),
        ([0, 1] * 50, {"share": 0.999}, "no row of class 'no' is left to train on"),
    ],
)
def test_no_class_is_empty(labels, options, message):
    with pytest.raises(JobError, match=message):
        split(np.array(labels), CLASSES, **options)


def test_the_best_checkpoint_is_selected_without_the_reported_rows(make_run, monkeypatch):
    import evaluate_glue
    import train_glue
    from hra_workflow.models import classifier

    read, tokenized = [], classifier.tokenized
    monkeypatch.setattr(
        classifier, "tokenized", lambda folder, split, *a, **k: read.append(split) or tokenized(folder, split, *a, **k)
    )
    run = make_run(method("hra"), held_out={"share": 0.25, "seed": 0})
    compute = evaluate_glue.compute_scores
    monkeypatch.setattr(evaluate_glue, "compute_scores", lambda *a: read.append("trained") or compute(*a))
    train_glue.main(run.train)
    assert read == ["train", "trained", "validation"]
    record = files.read_json(run.train["output"]["record"])
    assert record["steps"] == 10  # two epochs of 72 of the 96 rows, 16 at a time
    evaluate_glue.main(run.evaluate)
    found = files.read_json(run.evaluate["output"]["metrics"])["selections"]
    assert found.keys() == {"last", "best_on_held_out"}
    assert found["best_on_held_out"]["step"] == record["best_step"]


def held_out_config(**changes) -> dict:
    config = paper_config()
    config["tasks"]["glue"] |= changes
    return config


def test_without_the_option_nothing_changes():
    glue = tasks.load(paper_config())["glue"]
    assert glue.selections == ("best_on_dev", "last")
    assert "held_out" not in glue.hyperparameters("mrpc", "hra/r8")
    changed = tasks.load(held_out_config(selection="held-out"))["glue"]
    assert changed.selections == ("best_on_held_out", "last")
    settings = changed.hyperparameters("mrpc", "hra/r8")
    assert settings.pop("held_out") == {"share": 0.1, "seed": 0}  # of fewer than 20,000 rows
    assert settings == glue.hyperparameters("mrpc", "hra/r8")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"selection": "heldout"}, r"tasks.glue.selection: expected 'reported' or 'held-out', found 'heldout'"),
        ({"selection": "held-out", "held_out": {"share": 0}}, "tasks.glue.held_out.share: expected more than 0"),
        ({"selection": "held-out", "held_out": {"share": 0.0005}}, "1 of the 2490 training rows of rte are held out"),
    ],
)
def test_wrong_settings_stop_the_dry_run(changes, message):
    with pytest.raises(JobError, match=message):
        validation.check(held_out_config(**changes))
