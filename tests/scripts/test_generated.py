"""Sources of kind `init`: a function named in the config writes the files."""

import pandas
import pytest

from hra_workflow.core.errors import JobError
from hra_workflow.data import sources


@pytest.fixture
def guest(tmp_path, monkeypatch):
    """Provide a module outside of this repository."""
    (tmp_path / "guest.py").write_text(
        "def rows(rows, seed=0):\n"
        "    return {split: [{'label': seed}] * count for split, count in rows.items()}\n\n\n"
        "def files(folder, text):\n"
        "    (folder / 'a.txt').write_text(text)\n"
    )
    (tmp_path / "broken.py").write_text("import a_module_that_nobody_has\n")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "made").mkdir()
    return tmp_path / "made"


def test_functions_that_return_rows_or_write_files(guest):
    sources.of({"kind": "init", "generator": "guest:rows", "rows": {"train": 2, "test": 1}, "seed": 3}).fetch(guest)
    assert pandas.read_parquet(guest / "train.parquet").to_dict("list") == {"label": [3, 3]}
    sources.of({"kind": "init", "generator": "guest:files", "text": "any"}).fetch(guest)
    assert (guest / "a.txt").read_text() == "any"
    assert sorted(path.name for path in guest.iterdir()) == ["a.txt", "test.parquet", "train.parquet"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"generator": "guest.rows"}, r"expected `module:function` or `module:Class`, found 'guest\.rows'"),
        ({"generator": "gast:rows"}, "found no module gast.*PYTHONPATH"),
        ({"generator": "broken:rows"}, "found no module a_module_that_nobody_has.*broken imports it: install it"),
        ({"generator": "guest:row"}, "expected 'row' in module guest, found files, rows"),
        ({"generator": "guest:rows"}, r"expected the keys rows, seed; found none \(missing a.* 'rows'\)"),
        ({"generator": "guest:files", "path": ""}, r"expected the keys text; found path \("),
    ],
)
def test_mistakes(guest, source, message):
    with pytest.raises(JobError, match=message):
        sources.of({"kind": "init"} | source).fetch(guest)
    assert not list(guest.iterdir())
