"""Download of the real data."""

import pandas
import pytest
import yaml

from downloaded_datasets import run
from support import ROOT, SHARED

REAL = yaml.safe_load((ROOT / "config/demo/real_data.yaml").read_text())["datasets"]["glue"]


@pytest.mark.real
@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="no ../shared/data on this machine")
@pytest.mark.parametrize("name", REAL)
def test_real_data(tmp_path, name):
    source, entry = REAL[name]["source"], REAL[name]
    run(tmp_path / "toy.manifest.json", source, entry, local_root=SHARED / "data")
    for split, paths in entry["splits"].items():
        frame = pandas.read_parquet(tmp_path / f"toy/{split}.parquet")
        raw = "".join((SHARED / "data" / source["path"] / path).read_text("utf-8-sig") + "\n" for path in paths)
        lines = [line for line in raw.split("\n") if line][0 if "names" in entry["read"] else 1 :]
        assert len(lines) == len(frame)
        if entry["read"].get("quoting") == 3:  # no text lost a quote, a tab or its neighbour
            last = frame[entry["columns"][-1]]
            assert all(line.strip().endswith(text.strip()) for line, text in zip(lines, last, strict=True))
