"""docs/comparison.md: its tables come from the committed results, and its verdicts from the designs' rule."""

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertModel

from benchmarks import comparison, comparison_page, sentence_embeddings
from hra_workflow.core import records
from support import ROOT

STUDIES, FORMER = comparison.STUDIES, comparison_page.FORMER


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
    assert comparison_page.verdict(contrast(**values)) == found


def test_the_page_has_the_tables_of_the_committed_results():
    text = comparison_page.PAGE.read_text()
    results = {study: {table: comparison.read(study, table) for table in comparison.TABLES} for study in STUDIES}
    assert comparison_page.page(text, results) == text


@pytest.mark.parametrize("study", STUDIES)
def test_every_run_and_seed_of_the_design_is_in_the_results(study):
    runs, contrasts = comparison.read(study, "runs"), comparison.read(study, "contrasts")
    for name, one in STUDIES[study].items():
        of_set = runs[runs["set"] == name]
        found = {(run, seed) for run, seed in zip(of_set["run"], of_set["seed"], strict=True) if "/" in run}
        assert {(run, seed) for run, seed in found if run not in FORMER} == set(comparison.final_runs(study, one))
        tested = contrasts[contrasts["set"] == name]
        pairs = zip(tested["run"], tested["other"], strict=True)
        assert [pair for pair in pairs if not FORMER.keys() & {*pair}] == one.contrasts
        assert (tested["seeds"] == 5).all()


@pytest.mark.parametrize("study", STUDIES)
def test_the_runs_of_a_contrast_had_equal_searches(study):
    """Otherwise the page may not call one of them better (docs/statistics.md)."""
    trials, contrasts = comparison.read(study, "trials"), comparison.read(study, "contrasts")
    counts = trials.groupby(["set", "run"])["learning_rate"].nunique()
    for _, row in contrasts.iterrows():
        assert counts[row["set"], row["run"]] == counts[row["set"], row["other"]] > 1


def test_contrasts_are_those_of_the_tables_with_holms_correction_over_a_set():
    rng = np.random.default_rng(0)
    contrasts = [*comparison.OF_PART_A, ("lora/r8", "lora/r4-alpha8")]
    names = {run for pair in contrasts for run in pair}
    scored = {run: {seed: [(float(x),) for x in rng.random(400) < 0.5] for seed in range(5)} for run in sorted(names)}
    scored["hra/r8"] = {seed: [(1.0,)] * 400 for seed in range(5)}
    rows = pd.DataFrame(comparison.compare("set", contrasts, scored, lambda values: float(np.mean(values))))
    better = rows[rows["run"] == "hra/r8"]
    assert (better["difference"] > 45).all() and (better["p_holm"] < 0.05).all() and len(better) == 2
    assert (rows["p_holm"] >= rows["p"]).all() and (rows[rows["run"] == "lora/r8"]["p_holm"] > 0.05).all()


def test_a_folder_that_is_no_study_is_an_error(tmp_path):
    with pytest.raises(SystemExit, match="expected the folder of a study, comparison or comparison_b"):
        comparison.collect(tmp_path, tmp_path)


def test_a_run_without_a_final_record_is_an_error(tmp_path):
    with pytest.raises(SystemExit, match="seed0: expected the record of a finished run, found none"):
        comparison.final_run(tmp_path / "seed0", STUDIES["comparison"]["SST-2"])
    records.write(tmp_path / "train.json", {"status": "diverged", "error": "loss nan"})
    with pytest.raises(SystemExit, match="expected a finished run, found one that diverged: loss nan"):
        comparison.final_run(tmp_path, STUDIES["comparison"]["SST-2"])


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


def test_every_point_of_the_forest_plot_stands_beside_the_name_of_its_contrast(tmp_path, monkeypatch):
    import matplotlib.pyplot as plt

    monkeypatch.setattr(comparison_page, "IMAGES", tmp_path)
    contrasts, names = comparison.read("comparison_b", "contrasts"), comparison_page.labels()
    comparison_page.draw_contrasts("comparison_b", contrasts)
    names_of_rows = [label.get_text() for label in plt.gcf().axes[0].get_yticklabels()]
    for axis, name in zip(plt.gcf().axes, STUDIES["comparison_b"], strict=True):
        drawn = {names_of_rows[int(text.xy[1])]: text.xy[0] for text in axis.texts}
        of_set = contrasts[contrasts["set"] == name]
        pairs = zip(of_set["run"], of_set["other"], of_set["difference"], strict=True)
        assert drawn == {f"{names[run]}\n− {names[other]}": difference for run, other, difference in pairs}
    plt.close()
