"""results.md: its tables come from the committed results, and its verdicts from the designs' rule."""

import pandas as pd
import pytest

from benchmarks import docs_images
from studies.equal_budgets import collect, page

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


def test_the_runs_of_a_contrast_had_equal_searches():
    """Otherwise the page may not call one of them better (docs/statistics.md)."""
    for study in PARTS:
        counts = collect.read(study, "trials").groupby(["set", "run"])["learning_rate"].nunique()
        for _, row in collect.read(study, "contrasts").iterrows():
            assert counts[row["set"], row["run"]] == counts[row["set"], row["other"]] > 1
