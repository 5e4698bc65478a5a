"""Pareto frontiers: exactly the points that no other point beats, named where no other point is."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from hra_workflow.report.frontier import SIGN, frontier, name, scatter

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
def test_names_of_neighbours_on_the_frontier_do_not_overlap(better):
    names = ["HRA, r=8", "LoRA, r=8", "DoRA, r=8", "OFT, b=16"]
    places = [SIGN[better[0]] * np.array([1, 1.01, 1.02, 9]), -SIGN[better[1]] * np.array([5, 5.01, 5.02, 4])]
    points = pd.DataFrame({"x": places[0], "y": places[1], "label": names, "color": "#0072B2", "marker": "o"})
    axes = Figure().subplots()
    handles = scatter(axes, points.assign(y_std=[0.1, np.nan, 0, None]), better)
    name((axes, points, better))
    assert [handle.get_label() for handle in handles] == names
    boxes, inside = [text.get_window_extent() for text in axes.texts], axes.get_window_extent()
    assert all(inside.y0 <= box.y0 and box.y1 <= inside.y1 for box in boxes)
    assert {text.get_text() for text in axes.texts} == set(names[:3])
    assert not any(a.overlaps(b) for index, a in enumerate(boxes) for b in boxes[:index])
