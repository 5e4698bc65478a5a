"""results.md: its tables come from the committed results, and its verdicts from the designs' rule."""

import re
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertModel

from benchmarks import docs_images
from hra_workflow.core import records
from hra_workflow.report import comparison
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


def test_the_prose_of_the_page_has_the_figures_of_the_results():
    """Every phrase is computed; any other number with a decimal point is in a table of the page or a level."""
    a, b, c, d, e = (
        {table: collect.read(study, table).set_index(["set", "run"]) for table in TABLES} for study in PARTS
    )
    words, sst2, tried = "word problems", "SST-2", ("lora/r8", "lora/r4-alpha8", "oft/b16")

    def mean(study: dict, key: str, name: str, run: str) -> float:
        rows = study["runs"].loc[[(name, run)]]
        return rows[rows["parameters"] > 0][key].mean()

    def scores(study: dict, name: str, run: str) -> pd.Series:
        return study["trials"].loc[[(name, run)]].set_index("learning_rate")["score"].sort_index()

    def lost(name: str, run: str, factor: float) -> float:
        """Return by how much `factor` times the chosen learning rate is worse than it in its trial."""
        rows, found = a["trials"].loc[[(name, run)]], scores(a, name, run)
        rate = rows.loc[rows["chosen"], "learning_rate"].item()
        return abs(found[np.isclose(found.index, factor * rate)].item() - found[rate])

    def range_of(values: list, digits: int, other: int | None = None) -> str:
        return f"{min(values):.{digits}f} to {max(values):.{digits if other is None else other}f}"

    def gap(study: dict, run: str, other: str, name: str = words) -> str:
        """Return a contrast in points."""
        return f"{row(study, name, run, other)['difference']:.1f}"

    def row(study: dict, name: str, run: str, other: str) -> pd.Series:
        rows = study["contrasts"].loc[[(name, run)]]
        return rows[rows["other"] == other].iloc[0]

    def low_90(name: str) -> str:
        return f"{row(e, name, frozen, lora)['low_90']:.2f}".replace("-", "−")

    parameters = partial(mean, a, "parameters")
    high = scores(a, words, "hra/r8")[0.039:]
    both = {rate: 50 * sum(scores(of, sst2, "hra/r8")[rate] for of in (a, b)) for rate in (5e-3, 2e-2)}
    errors = [100 * np.sqrt(score * (1 - score) / 691) for score in (0.841, 0.858)]
    shares = pd.concat([of["runs"]["cpu_share"].dropna() for of in (a, b)])
    turned, scaled, lora = page.BOTH_SIDES, "hra/r4-two-sided-magnitudes", "lora/r4-alpha8"
    solved, of_d, of_e = (partial(mean, of, "score", words) for of in (c, d, e))
    mixed = [of_d(run) - solved(run) for run in d["runs"].index.unique("run")]
    frozen = page.FROZEN
    both_on_sst2 = row(e, sst2, turned, lora)
    one_of_four = comparison.holm([*e["contrasts"].loc[[(sst2, frozen)], "p"], both_on_sst2["p"]])[-1]
    not_worse = {name: page.signed(row(e, name, frozen, lora)["difference"]) for name in (sst2, "MRPC")}
    similar = [f"{mean(c, 'kept', sst2, run):.1f}" for run in (lora, "hra/r8", turned, scaled)]
    phrases = [
        f"with {100 * parameters(words, 'lora/r8') / parameters(words, 'hra/r16') - 100:.0f} % more parameters",
        f"with {100 * parameters(words, 'oft/b16') / parameters(words, 'lora/r8'):.0f} % of LoRA's parameters",
        f"within {high.max() - high.min():.3f} over a factor of four (4e-2 to 1.6e-1)",
        f"{range_of([lost(words, run, 0.5) for run in tried], 3)} at half their best learning rate",
        f"{range_of([lost(words, run, 2) for run in tried], 2, 1)} at twice the best",
        f"{both[5e-3]:.1f} for 5e-3 and {both[2e-2]:.1f} for 2e-2",
        f"{range_of(errors, 1)} points",
        f"only {(shares >= 0.95).sum()} of {len(shares)} runs of parts A and B reach",
        f"by {gap(c, turned, lora)} points, and than HRA as the paper defines it, by {gap(c, turned, 'hra/r8')}.",
        f"(twice LoRA's rank: {page.signed(solved('lora/r8') - solved(lora))} points)",
        "similarity is {} after LoRA, {} after the paper's HRA, {} after two-sided HRA and {} with".format(*similar),
        f"undecided**: {of_d(turned):.1f} against {of_d(lora):.1f} %",
        f"by {range_of(mixed, 1)} points (not tested)",
        f"more than one point**: {not_worse[sst2]}, and the 90 % interval begins at {low_90(sst2)}.",
        f"**On MRPC that is not shown**: {not_worse['MRPC']}, and it begins at {low_90('MRPC')}.",
        *(f"{of(turned):.1f} against {of(lora):.1f} %" for of in (of_d, of_e)),
        "**worse in part E**: {} points [{}, p = {:.2g}.".format(
            *page.difference(both_on_sst2).split(" ["), both_on_sst2["p"]
        ),
        f"over all contrasts of SST-2, p is {one_of_four:.2g}.",
    ]
    text = page.PAGE.read_text().partition("\n## Part A")[2]  # the designs are before it
    tables = "".join(re.findall(r"<!-- table.*?<!-- end -->", text, re.DOTALL))
    prose = re.sub(r"<!-- table.*?<!-- end -->|```.*?```|`[^`]*`|\]\([^)]*\)", "", text, flags=re.DOTALL)
    prose = " ".join(prose.split())
    assert not [phrase for phrase in phrases if phrase not in prose]
    number = r"(?<![\w.,])\d[\d,]*\.\d+"
    known = {*re.findall(number, tables), *re.findall(number, " ".join(phrases)), "0.95", "0.9"}
    assert {*re.findall(number, prose)} <= known


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


def test_every_point_of_the_forest_plot_stands_beside_the_name_of_its_contrast(tmp_path, monkeypatch):
    import matplotlib.pyplot as plt

    monkeypatch.setattr(page, "CONTRASTS", tmp_path / "contrasts.png")
    contrasts, names = page.overview({one: {t: collect.read(one, t) for t in TABLES} for one in PARTS}), page.labels()
    page.draw_contrasts(contrasts)
    axes = plt.gcf().axes
    of_rows = [label.get_text() for label in axes[0].get_yticklabels()]
    for axis, name in zip(axes, page.SETS, strict=True):
        of_set = contrasts[contrasts["set"] == name]
        points = [line.get_xydata()[0] for line in axis.lines if line.get_marker() == "o"]
        assert {(of_rows[int(y)], x) for x, y in points} == {
            (f"{row['part']}: {names[row['run']]} − {names[row['other']]}", row["difference"])
            for _, row in of_set.iterrows()
        }
    plt.close()
