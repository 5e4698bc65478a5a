"""The forms of relaxations.py against their formula, and the tables and the figure of the page."""

import re

import pandas as pd
import pytest
import torch

from benchmarks import docs_images
from studies.short_runs import rates, relaxations, small_runs


def factor(columns: list[torch.Tensor], coefficients: list[torch.Tensor]) -> torch.Tensor:
    """Return I - Σ β u uᵀ / ‖u‖²."""
    terms = [beta * torch.outer(u, u) / u.square().sum() for u, beta in zip(columns, coefficients, strict=True)]
    return torch.eye(len(columns[0]), dtype=torch.float64) - sum(terms)


def product(side: relaxations.Side | None, width: int, n: int) -> torch.Tensor:
    """Return the product of a side's factors, of `width` columns each."""
    result = torch.eye(n, dtype=torch.float64)
    columns, coefficients = (list(side.u.T), list(side.coefficients)) if side else ([], [])
    for first in range(0, len(columns), width):
        result = result @ factor(columns[first : first + width], coefficients[first : first + width])
    return result


PAGE = " ".join(small_runs.PAGE.read_text().split())


@pytest.mark.parametrize("study", [relaxations, rates])
def test_the_table_of_the_page_is_that_of_the_results(study):
    assert "\n".join(study.page_table()) in small_runs.PAGE.read_text()


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


def test_a_common_rate_is_one_that_every_rank_was_trained_with():
    losses = pd.DataFrame({1e-3: [2.0, None], 2e-3: [1.0, 3.0], 4e-3: [1.5, 2.0]}, index=[2, 4])
    assert rates.common(losses) == (2e-3, 1.5) and rates.common(losses[[1e-3]]) is None


@pytest.mark.parametrize("name", relaxations.FORMS)
def test_a_form_starts_at_the_weight_and_equals_its_formula(name):
    torch.manual_seed(0)
    form, weight = relaxations.FORMS[name], torch.randn(12, 10, dtype=torch.float64)
    built = relaxations.Weight(weight, form).double()
    torch.testing.assert_close(built(weight), weight)
    trained = [one for one in built.parameters() if one.requires_grad]
    with torch.no_grad():
        for parameter in trained:
            parameter.add_(0.3 * torch.randn_like(parameter))
        width = 2 if form.pairs else 1
        expected = product(built.left, width, 12) @ weight @ product(built.right, width, 10)
        if form.magnitudes:
            expected = torch.diag(1 + built.magnitudes) @ expected
        if form.inputs:
            expected = expected @ torch.diag(1 + built.inputs)
    torch.testing.assert_close(built(weight), expected)
    built(weight).square().sum().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in trained)
