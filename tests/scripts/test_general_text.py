"""Retention of language models: the loss on general text, on a tiny model, and what is refused."""

import json
import math
from pathlib import Path

import pandas
import pytest
import torch

import evaluate_general_text
from hra_workflow import methods
from hra_workflow.core import files, predictions
from hra_workflow.core.errors import JobError
from hra_workflow.data import sources
from hra_workflow.models import causal_lm
from rule_jobs import train
from sums import math_method
from support import method

TEXT = ["It was the best of times.", "", "It was the worst of times."]
WINDOW = 8


@pytest.fixture
def job(make_math_run, tmp_path):
    """job(spec, **params): the evaluation of a trained run on TEXT."""

    def make(spec: dict, **params) -> dict:
        run = make_math_run(spec, epochs=0.5)
        train(run)
        (tmp_path / "text").mkdir()
        pandas.DataFrame({"text": TEXT}).to_parquet(tmp_path / "text/test.parquet")
        content = {"folder": "text", "files": sources.list_files(tmp_path / "text")}
        files.write_json(tmp_path / "text.manifest.json", content)
        inputs = {"model": run.tiny["model"], "record": str(run.folder / "run/train.json")} | run.weights
        made = run.job(
            "evaluate_general_text",
            inputs | {"dataset": str(tmp_path / "text.manifest.json")},
            {"metrics": tmp_path / "out/metrics.json", "predictions": tmp_path / "out/predictions.jsonl.gz"},
            **{"split": "test", "window": WINDOW, "cut": "windows", "batch_size": 2} | params,
        )
        return made | {"wildcards": run.wildcards | {"benchmark": "general_text"}}

    return make


@pytest.mark.parametrize("kind", ["lora", "prefix_tuning"])
def test_the_loss_is_that_of_every_token_after_those_before_it(job, kind):
    virtual = method(methods.PEFT, type=kind, peft={"num_virtual_tokens": 4}, targets=None)
    made = job(math_method("lora") if kind == "lora" else virtual)
    evaluate_general_text.main(made)
    found = json.loads(Path(made["output"]["metrics"]).read_text())
    folder = Path(made["input"]["model"]).parent / "model"
    tokenizer = causal_lm.load_tokenizer(folder)
    texts = Path(made["input"]["dataset"]).parent / "text/test.parquet"
    rows = torch.tensor(evaluate_general_text.windows(texts, tokenizer, WINDOW, 99))
    model = causal_lm.load_run(folder, made["params"]["method"], Path(made["input"]["last"]), "float32", "cpu")

    def loss(row, n: int):
        return -model(input_ids=row[None, :n]).logits[0, -1].log_softmax(0)[row[n]]

    with torch.no_grad():
        expected = torch.stack([sum(loss(row, n) for n in range(1, WINDOW)) / (WINDOW - 1) for row in rows])
    value = found["selections"]["last"]["metrics"]["loss"]
    assert found["n_items"] == len(rows) > 3
    assert {line["tokens"] for line in predictions.read(made["output"]["predictions"])} == {WINDOW - 1}
    assert math.isclose(value["value"], expected.mean(), rel_tol=1e-5)
    assert math.isclose(value["stderr"], expected.std() / math.sqrt(len(rows)), rel_tol=1e-3)
    with pytest.raises(JobError, match=r"expected at most 12\d tokens, the model's context, found 129. Lower it"):
        evaluate_general_text.main(made | {"params": made["params"] | {"window": 129}})
    with pytest.raises(JobError, match=r"expected at least \d+ tokens, found \d+. Lower general_text.window"):
        evaluate_general_text.main(made | {"params": made["params"] | {"window": 124}})


def test_windows_are_the_text_in_order_each_after_a_start_token(tiny_math, tmp_path):
    tokenizer = causal_lm.load_tokenizer(Path(tiny_math["model"]).parent / "model")
    pandas.DataFrame({"text": TEXT}).to_parquet(tmp_path / "test.parquet")
    rows = evaluate_general_text.windows(tmp_path / "test.parquet", tokenizer, WINDOW, 128)
    begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    assert {len(row) for row in rows} == {WINDOW}
    assert all(row[: len(begin)] == begin for row in rows)
    ids = [token for row in rows for token in row[len(begin) :]]
    assert "\n\n".join(TEXT).startswith(tokenizer.decode(ids).strip())
