"""The table and the figure of the page are those of the results, and its sentences those of the table."""

import re

from benchmarks import docs_images
from studies.short_runs import rates, small_runs

PAGE = " ".join(small_runs.PAGE.read_text().split())


def test_the_table_of_the_page_is_that_of_the_results():
    assert "\n".join(rates.page_table()) in small_runs.PAGE.read_text()


def test_the_figure_is_made_from_the_results():
    """Otherwise: python -m studies.short_runs.rates page."""
    assert docs_images.stated(rates.IMAGE) == docs_images.digest(rates.MADE_FROM)


def test_the_library_s_page_has_the_numbers_of_the_table():
    (trained, derived) = re.findall(r"^\| one rate for all r.*\|$", small_runs.PAGE.read_text(), re.MULTILINE)
    losses, others = re.findall(r"(\d+) %", derived), re.findall(r"(\d+) %", trained)
    library = " ".join((small_runs.ROOT / "docs/library.md").read_text().split())
    words, narrow, sst2 = losses
    assert f"at most {words} % (word problems), {narrow} % (a Llama of half the width) and {sst2} % (SST-2)" in library
    assert f"the loss is {others[0]} % and {others[1]} % above it" in library and "no common rate" in trained
    assert f"{words}, {narrow} and {sst2} % above its best" in PAGE


def test_the_page_says_how_far_derived_losses_are_from_trained_ones():
    error = 100 * (rates.derivation_error() - 1)
    largest = f"−{-error.min():.0f} to +{error.max():.0f} %, {(error**2).mean() ** 0.5:.0f} % on average (rms)"
    repeated = error.xs(("hra, init_scale", 8), level=(1, 2))
    assert f"{len(error)} runs of word problems can be compared" in PAGE and largest in PAGE
    assert f"repeat runs on another processor and differ by up to {repeated.abs().max():.0f} %" in PAGE
    assert f"deviation of the loss between two seeds is {100 * rates.noise():.0f} %" in PAGE
