"""Notes of the results table that only some tables have."""

import pandas as pd

from common.report.markdown_text import plain


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
