"""Notes of the results table that only some tables have."""

import pandas as pd

from common.report import comparison
from common.report.markdown_text import plain


def compared(task: str, names: list[str], differences: pd.DataFrame, marked: set[tuple[str, str, str]]) -> list[str]:
    """Explain the values in bold, and why columns have none although their runs are compared.

    names: of the columns and averages. marked: selection, run and column of the cells in bold.
    """
    lines, bold = [], {column for *_, column in marked}
    if bold:
        lines.append(
            "**Bold**: the best of our trained runs, and those whose difference to it is not significant at 5 % "
            "(bootstrap over seeds and items, Holm's correction for the pairs of a column). "
            f"`compare_{task}.csv` has every pair with its 95 % interval. A metric that is not computed from items "
            "(FID, mIoU) has no bold value."
        )
    untested = set(differences.loc[differences["p_holm"] == "", "column"])
    if listed := [plain(name) for name in names if name in untested - bold]:
        lines.append(
            f"No value is bold in {', '.join(listed)}: differences are tested only between runs that share at least "
            f"{comparison.SEEDS} seeds, since fewer do not show how much seeds differ; with one seed, an interval of "
            f"`compare_{task}.csv` is that of the items alone."
        )
    return lines


def unscored(empty: dict[str, set[str]], labels: dict[str, str]) -> list[str]:
    """Name the runs without a value per column or average (run_statistics.without_value); labels: of the rows."""
    found = {label: [name for name, runs in empty.items() if run in runs] for run, label in labels.items()}
    listed = "; ".join(f"{label}: {', '.join(names)}" for label, names in found.items() if names)
    return [
        "Evaluated without a value, so empty too (the metric does not apply to the run, or no image could be scored, "
        f"for example because no face was found): {plain(listed)}."
    ] * bool(listed)


def answered(done: pd.DataFrame) -> list[str]:
    """State which backend generated the answers of which runs; of a task without generated answers, nothing."""
    if "backend" not in done or not done["backend"].any():  # or a run table of before 2026-11-26
        return []
    parts = [
        f"{backend or 'a backend that was not recorded'}{f' (`serve: {serve}`)' if serve else ''}: "
        + ", ".join(group["run"].unique())
        for (backend, serve), group in done.groupby(["backend", "serve"])
    ]
    several = done["backend"].nunique() > 1
    return [f"{'**Several backends**, which round differently. ' * several}Answers by {'; '.join(parts)}."]
