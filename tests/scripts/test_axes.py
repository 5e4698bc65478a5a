"""The axes of figures: long labels fit, and no whisker is cut."""

from matplotlib.figure import Figure

import collect_runs
import factories
import figures
from hra_workflow.report.plot_style import dot, widen

KEYS = [(dataset, run, 0) for run in ("hra/r8", "lora/r8") for dataset in factories.METRICS]


def test_a_whisker_above_100_percent_is_not_cut():
    axes = Figure().subplots()
    dot(axes, 1, 95, "HRA", {"color": "black", "marker": "o"}, yerr=7)
    widen(axes, 100)
    assert 102 < axes.get_ylim()[1] <= 102.5


def test_long_labels_are_wrapped_to_their_axes(tmp_path, monkeypatch):
    names = ["Subject fidelity (EfficientNet for DINO)", "Prompt fidelity (position and background in pixels)"]
    expected = [factories.entry(tmp_path, *key) for key in KEYS]
    paths = [factories.write(tmp_path, run, factories.noisy_curve(run)) for run in expected]
    collect_runs.main(factories.collect_job(tmp_path, expected, paths))
    job = factories.figures_job(tmp_path, expected, [])
    columns = [column | {"name": name} for name, column in zip(names, factories.COLUMNS[:2], strict=True)]
    job["params"] |= {"columns": columns, "averages": {}, "parameters": names, "lambda": names}
    drawn = []
    monkeypatch.setattr(figures, "save", lambda figure, *_: drawn.append(figure))
    figures.main(job)
    assert len(drawn) == len(factories.FIGURES)
    for figure in drawn:
        figure.set_dpi(200)
        figure.draw_without_rendering()
        places = [(ax.get_window_extent(), ax.xaxis.label, ax.yaxis.label) for ax in figure.axes]
        for inside, along, upwards in places:
            assert upwards.get_window_extent().height <= inside.height, upwards.get_text()
            assert along.get_window_extent().width <= inside.width, along.get_text()
        notes = [text for text in figure.texts if text.get_text()]
        assert all(note.get_window_extent().x1 <= figure.bbox.x1 for note in notes)
