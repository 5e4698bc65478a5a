"""The evaluation job on small files, and the grader on the reference solutions of GSM8K and MATH."""

import gzip
import json
import math
import random
import re
from collections import Counter
from pathlib import Path

import pandas
import pytest
from jsonschema import validate

import evaluate_math
from hra_workflow.core import files, records
from hra_workflow.core import predictions as stored
from hra_workflow.data import sources
from hra_workflow.tasks.math import answers
from support import ROOT, SHARED

GSM8K = [f"Some work.\n#### {n}" for n in (7, 42, 1000, 5)]
OUTPUTS = ["The answer is: 7", "The answer is: 42 of 50", "The answer is: 10", "It is 5"]


@pytest.fixture
def job(tmp_path) -> dict:
    """Return the job of the rule on these answers to GSM8K."""
    (tmp_path / "toy").mkdir()
    frame = pandas.DataFrame({"question": [f"Question {i}" for i in range(len(GSM8K))], "answer": GSM8K})
    frame.to_parquet(tmp_path / "toy/test.parquet")
    files.write_json(tmp_path / "toy.manifest.json", {"folder": "toy", "files": sources.list_files(tmp_path / "toy")})
    records.write(tmp_path / "train.json", {"seed": 3, "steps": 20, "made_from": {"settings": {}}})
    lines = [
        {"item": i, "prompt": f"Question {i}", "output": output, "finish": "stop"}
        | {"backend": f"transformers 5.33.{i % 2}", "serve": "merged"}
        for i, output in enumerate(OUTPUTS)
    ]
    stored.write(tmp_path / "outputs.jsonl.gz", lines, {"result": "math/d/hra/r8/3/gsm8k", "settings": {}})
    given = {"outputs": "outputs.jsonl.gz", "record": "train.json", "dataset": "toy.manifest.json"}
    made = {"metrics": "out/metrics.json", "predictions": "out/predictions.jsonl.gz"}
    params = {"split": "test", "answer": "gsm8k", "metrics": ["official", "strict", "lenient"], "score": "official"}
    return {
        "input": {name: str(tmp_path / path) for name, path in given.items()},
        "output": {name: str(tmp_path / path) for name, path in made.items()},
        "params": params | {"task_version": 1, "scratch": str(tmp_path / "scratch")},
        "threads": 2,
        "wildcards": dict(task="math", dataset="d", method="hra", variant="r8", seed="3", benchmark="gsm8k"),
    }


def test_metrics_and_predictions(job):
    evaluate_math.main(job)
    metrics = files.read_json(job["output"]["metrics"])
    validate(metrics, files.read_json(ROOT / "workflow/schemas/metrics.schema.json"))
    assert (metrics["seed"], metrics["n_items"], metrics["score"]) == (3, 4, "official")
    assert metrics["generation"] == {"backend": "transformers 5.33.0, transformers 5.33.1", "serve": "merged"}
    expected = {"official": 0.75, "strict": 0.25, "lenient": 0.5}  # official: 10 is as good as 1000
    errors = {way: pytest.approx(math.sqrt(p * (1 - p) / 3)) for way, p in expected.items()}
    found = {way: {"value": p, "stderr": errors[way]} for way, p in expected.items()}
    assert metrics["selections"]["last"] == {"step": 20, "metrics": found}
    line = stored.read(job["output"]["predictions"])[1]
    assert (line["prompt"], line["output"], line["gold"]) == ("Question 1", "The answer is: 42 of 50", "42")
    assert [line[way] for way in ("strict", "lenient", "official")] == [
        {"answer": "42 of 50", "right": False},
        {"answer": "50", "right": False},
        {"answer": "42", "right": True},
    ]


def test_order_and_threads_change_no_byte(job):
    evaluate_math.main(job)
    result, outputs = Path(job["output"]["predictions"]), Path(job["input"]["outputs"])
    first = result.read_bytes()
    head, *lines = gzip.decompress(outputs.read_bytes()).splitlines(keepends=True)
    outputs.write_bytes(gzip.compress(b"".join([head, *random.Random(0).sample(lines, len(lines))])))
    evaluate_math.main(job | {"threads": 1})
    assert result.read_bytes() == first


def changed(answer: str) -> list[str]:
    """Wrong answers: each digit changed; where there is none, each letter outside of commands."""
    digits = [match.start() for match in re.finditer(r"\d", answer)]
    letters = [match.start(1) for match in re.finditer(r"\{[^{}]*?([A-Za-z])[^{}]*\}", answer)]
    following = str.maketrans("0123456789", "1234567890") if digits else None
    swap = (lambda c: c.translate(following)) if digits else (lambda c: "q" if c.lower() != "q" else "k")
    return [answer[:i] + swap(answer[i]) + answer[i + 1 :] for i in (digits or letters)]


@pytest.mark.real
@pytest.mark.parametrize("step", [10, pytest.param(1, marks=pytest.mark.full)])
@pytest.mark.parametrize(
    ("style", "column", "paths", "least"),
    [
        ("gsm8k", "answer", ["gsm8k/train", "gsm8k/test_700"], 0.999),
        ("boxed", "solution", ["math_sample/test_500"], 0.99),
    ],
)
def test_reference_solutions_are_right_and_answers_with_a_changed_digit_wrong(style, column, paths, least, step):
    found = [SHARED / f"data/{path}.jsonl" for path in paths]
    if not found[0].exists():
        pytest.skip("no ../shared/data on this machine")
    rows = [json.loads(line)[column] for path in found for line in path.read_text().splitlines()][::step]
    right: Counter[str] = Counter()
    accepted = altered = 0
    for solution in rows:
        gold = answers.gold(style, solution)
        graded = answers.grade(style, f"The answer is: {gold}", gold)
        right.update(way for way in graded if graded[way]["right"])
        right["whole solution"] += answers.grade(style, solution, gold)["lenient"]["right"]
        verdicts = [answers.right(style, answer, gold) for answer in changed(gold)]
        accepted, altered = accepted + sum(verdicts), altered + len(verdicts)
    assert len(right) == 4 and min(right.values()) >= least * len(rows), right
    # math-verify ignores the base of 221_3, and cannot read 1 of these 500 references.
    assert altered >= len(rows) and accepted <= (0 if style == "gsm8k" else 0.03 * altered)
