"""The demo's word problems and the language model trained on them: correct, distinct, in the original formats."""

import re

import pytest

from hra_workflow.demo import text_tasks
from support import ROOT

MODEL = ROOT / "workflow/word-problems-llama"
COLUMNS = {
    "word_problems": ["question", "answer"],
    "metamath": ["query", "response", "type", "original_question"],
    "gsm8k": ["question", "answer"],
}
ROWS = {"train": 400, "test": 100}
# What the words of a sentence do with its number; all others add it.
WORDS = {"fewer": "-", "loses": "-", "sells": "-", "gives": "-", "times": "*", "each of": "*", "boxes": "/"}
WORDS |= {"Subtract": "-", "Multiply": "*", "Divide": "/"}


@pytest.fixture(params=COLUMNS)
def task(request):
    return request.param


def read(question: str) -> list[str]:
    """Derive the calculations of a question from its words only."""
    (_, value), *others = re.findall(r"([^.?]*?(\d+)[^.?]*)", question)
    chain = []
    for sentence, number in others:
        sign = next((sign for word, sign in WORDS.items() if word in sentence), "+")
        chain.append(f"{value}{sign}{number}")
        value = int(eval(chain[-1]))
    return chain


def test_no_question_twice(task):
    rows = [row for split in getattr(text_tasks, task)(ROWS).values() for row in split]
    assert all(list(row) == COLUMNS[task] for row in rows)
    assert len({row[COLUMNS[task][0]] for row in rows}) == len(rows) == sum(ROWS.values())


def test_a_test_has_the_calculation_of_no_training_row():
    """Whatever the seeds and counts: hence no question is in both."""
    trained = [row["query"] for seed in (0, 1) for row in text_tasks.metamath({"train": 3000}, seed)["train"]]
    trained += [row["question"] for row in text_tasks.word_problems({"train": 6000})["train"]]
    tests = [row["question"] for row in text_tasks.gsm8k({"test": 1000})["test"]]
    assert not {tuple(read(question)) for question in tests} & {tuple(read(question)) for question in trained}


@pytest.mark.parametrize("task, lengths", [("word_problems", {1, 2, 3}), ("metamath", {2, 3})])
def test_answers(task, lengths):
    """Check that the solution computes the question correctly, and that the last two lines have the result."""
    column = {"word_problems": "answer", "metamath": "response"}[task]
    found = set()
    for row in getattr(text_tasks, task)(ROWS)["train"]:
        *lines, marked, said = row[column].split("\n")
        calculations = [re.search(r"([\d+*/-]+)=(\d+)", line).groups() for line in lines]
        assert [left for left, _ in calculations] == read(row[COLUMNS[task][0]])
        assert all(eval(left) == int(right) and 2 <= int(right) <= 99 for left, right in calculations)
        assert marked == f"#### {calculations[-1][1]}" and said == f"The answer is: {calculations[-1][1]}"
        found.add(len(lines))
    assert found == lengths


def test_the_committed_model():
    """About one million parameters that know single steps: questions and numbers as in training, other rows."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = (one.from_pretrained(MODEL) for one in (AutoModelForCausalLM, AutoTokenizer))
    assert 0.8e6 < sum(parameter.numel() for parameter in model.parameters()) < 1.2e6
    assert (MODEL / "model.safetensors").stat().st_size <= 4e6
    assert model.config.vocab_size == len(tokenizer)
    rows = [row for row in text_tasks.word_problems({"new": 150}, 1)["new"] if len(read(row["question"])) == 1]
    prompts = [f"{row['question']}\n" for row in rows]
    inputs = tokenizer(prompts, padding=True, padding_side="left", return_tensors="pt")
    output = model.generate(**inputs, max_new_tokens=40, do_sample=False)[:, inputs["input_ids"].shape[1] :]
    written = tokenizer.batch_decode(output, skip_special_tokens=True)
    assert sum(text == row["answer"] for text, row in zip(written, rows, strict=True)) > 0.8 * len(rows) > 80
