"""results.md: its tables come from the committed results, and its verdicts from the designs' rule."""

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertModel

from benchmarks import docs_images
from hra_workflow.core import records
from studies.equal_budgets import collect, page, sentence_embeddings
from support import ROOT

STUDIES, FORMER, TABLES, PARTS = collect.STUDIES, page.FORMER, collect.TABLES, page.PARTS.values()


def contrast(**values) -> pd.Series:
    return pd.Series({"difference": 2.0, "p_holm": 1.0, "p_equivalent": 1.0} | values)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"p_holm": 0.01}, "better"),
        ({"p_holm": 0.01, "difference": -2.0}, "worse"),
        ({"p_equivalent": 0.01, "difference": 0.1}, "same level"),
        ({"p_holm": 0.06, "p_equivalent": 0.06}, "undecided"),
    ],
)
def test_a_verdict_is_what_the_design_says(values, found):
    assert page.verdict(contrast(**values)) == found


def test_the_pages_have_the_tables_of_the_committed_results():
    results = {study: {table: collect.read(study, table) for table in TABLES} for study in PARTS}
    for path, tables in page.made(results).items():
        assert page.page(path.read_text(), tables) == path.read_text()


def test_the_figures_are_made_from_the_results():
    """Otherwise: python -m studies.equal_budgets.page."""
    for figure, sources in page.figures().items():
        assert docs_images.stated(figure) == docs_images.digest(sources), figure


@pytest.mark.parametrize("study", STUDIES)
def test_every_run_and_seed_of_the_design_is_in_the_results(study):
    runs, contrasts = collect.read(study, "runs"), collect.read(study, "contrasts")
    for name, one in STUDIES[study].items():
        of_set = runs[runs["set"] == name]
        found = {(run, seed) for run, seed in zip(of_set["run"], of_set["seed"], strict=True) if "/" in run}
        assert {(run, seed) for run, seed in found if run not in FORMER} == set(collect.final_runs(study, one))
        of_former = contrasts["run"].isin([*FORMER]) | contrasts["other"].isin([*FORMER])
        tested = contrasts[(contrasts["set"] == name) & ~of_former]
        assert [*zip(tested["run"], tested["other"], strict=True)] == one.contrasts
        seeds = pd.Series([run for run, _ in collect.final_runs(study, one)]).value_counts()
        assert [*tested["seeds"]] == [*tested["run"].map(seeds)]


@pytest.mark.parametrize("study", PARTS)
def test_the_runs_of_a_contrast_had_equal_searches(study):
    """Otherwise the page may not call one of them better (docs/statistics.md)."""
    trials, contrasts = collect.read(study, "trials"), collect.read(study, "contrasts")
    counts = trials.groupby(["set", "run"])["learning_rate"].nunique()
    for _, row in contrasts.iterrows():
        assert counts[row["set"], row["run"]] == counts[row["set"], row["other"]] > 1


def test_contrasts_are_those_of_the_tables_with_holms_correction_over_a_set():
    rng = np.random.default_rng(0)
    contrasts = [*collect.OF_PART_A, ("lora/r8", "lora/r4-alpha8")]
    names = {run for pair in contrasts for run in pair}
    scored = {run: {seed: [(float(x),) for x in rng.random(400) < 0.5] for seed in range(5)} for run in sorted(names)}
    scored["hra/r8"] = {seed: [(1.0,)] * 400 for seed in range(5)}
    rows = pd.DataFrame(collect.compare("set", contrasts, scored, lambda values: float(np.mean(values))))
    better = rows[rows["run"] == "hra/r8"]
    assert (better["difference"] > 45).all() and (better["p_holm"] < 0.05).all() and len(better) == 2
    assert (rows["p_holm"] >= rows["p"]).all() and (rows[rows["run"] == "lora/r8"]["p_holm"] > 0.05).all()


def test_a_folder_that_is_no_study_is_an_error(tmp_path):
    with pytest.raises(SystemExit, match="expected the folder of a study, comparison or comparison_b, found"):
        collect.collect(tmp_path, tmp_path)
    with pytest.raises(SystemExit, match="comparison_b/results: expected the results of a task of the study"):
        collect.collect(tmp_path / "comparison_b", tmp_path)


def test_a_run_without_a_final_record_is_an_error(tmp_path):
    with pytest.raises(SystemExit, match="seed0: expected the record of a finished run, found none"):
        collect.final_run(tmp_path / "seed0", STUDIES["comparison"]["SST-2"])
    records.write(tmp_path / "train.json", {"status": "diverged", "error": "loss nan"})
    with pytest.raises(SystemExit, match="expected a finished run, found one that diverged: loss nan"):
        collect.final_run(tmp_path, STUDIES["comparison"]["SST-2"])


def test_a_text_has_the_same_embedding_alone_and_beside_longer_ones():
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(ROOT / "workflow/word-problems-llama")
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    encoder = BertModel(BertConfig(vocab_size=len(tokenizer), **size)).eval()
    texts = ["a short one", "a text that is quite a bit longer than the others are", "another"]
    together = sentence_embeddings.embed(encoder, tokenizer, texts)
    alone = np.concatenate([sentence_embeddings.embed(encoder, tokenizer, [text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    first, second = together, np.roll(together, 1, axis=0)
    cosines = (first * second).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
    pairs = pd.DataFrame({"sentence1": texts, "sentence2": [texts[-1], *texts[:-1]], "score": cosines})
    assert sentence_embeddings.similarity(encoder, tokenizer, pairs) == pytest.approx(100, abs=1e-3)
