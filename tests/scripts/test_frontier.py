"""Pareto frontiers: exactly the points that no other point beats."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from hra_workflow.report.frontier import SIGN, frontier, scatter

WANTED = [(x, y) for x in SIGN for y in SIGN]
POINTS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=9)


@given(POINTS, st.sampled_from(WANTED))
def test_the_frontier_is_what_no_other_point_beats(points, better):
    x, y = (pd.Series(values, dtype=float) for values in zip(*points, strict=True))
    costs = np.stack([SIGN[better[0]] * x, SIGN[better[1]] * y], axis=1)
    unbeaten = {tuple(a) for a in costs if not any((b <= a).all() and (b < a).any() for b in costs)}
    found = frontier(x, y, better)
    assert [tuple(costs[index]) for index in found] == sorted(unbeaten)


def test_a_point_without_a_score_is_not_on_the_frontier():
    assert frontier(pd.Series([1.0, 2.0]), pd.Series([np.nan, 3.0]), ("lower", "higher")) == [1]


@pytest.mark.parametrize("better", WANTED)
def test_the_frontier_has_rings_and_the_legend_every_point(better):
    names = ["HRA, r=8", "LoRA, r=8", "DoRA, r=8", "OFT, b=16"]
    places = [SIGN[better[0]] * np.array([1, 1.01, 1.02, 9]), -SIGN[better[1]] * np.array([5, 5.01, 5.02, 4])]
    points = pd.DataFrame({"x": places[0], "y": places[1], "label": names, "color": "#0072B2", "marker": "o"})
    axes = Figure().subplots()
    handles = scatter(axes, points.assign(y_std=[0.1, np.nan, 0, None]), better)
    assert [handle.get_label() for handle in handles] == names
    (rings,) = [line for line in axes.lines if line.get_markerfacecolor() == "none"]
    assert [*zip(*rings.get_data(), strict=True)] == [*zip(*places, strict=True)][:3]
