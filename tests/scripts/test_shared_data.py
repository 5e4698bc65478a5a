"""Download of the real data."""

import pandas
import pytest

from downloaded_datasets import run
from support import SHARED


def local(path, splits, columns, label, labels, rows, **read):
    entry = {"splits": splits, "read": read, "columns": columns, "label": label, "labels": labels, "rows": rows}
    return pytest.param({"kind": "local", "path": path}, entry, id=path)


@pytest.mark.real
@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="no ../shared/data on this machine")
@pytest.mark.parametrize(
    "source, entry",
    [
        local(
            "glue_cola",
            {"train": ["in_domain_train.tsv"], "validation": ["in_domain_dev.tsv", "out_of_domain_dev.tsv"]},
            ["sentence"],
            "label",
            ["unacceptable", "acceptable"],
            {"train": 8551, "validation": 1043},
            sep="\t",
            header=None,
            names=["source", "label", "mark", "sentence"],
            quoting=3,
        ),
        local(
            "glue_mrpc",
            {"train": ["msr_paraphrase_train.txt"], "validation": ["msr_paraphrase_test.txt"]},
            ["#1 String", "#2 String"],
            "Quality",
            ["not_equivalent", "equivalent"],
            {"train": 4076, "validation": 1725},
            sep="\t",
            quoting=3,
            encoding="utf-8-sig",
        ),
        local(
            "glue_stsb",
            {"train": ["stsb-en-train.csv"], "validation": ["stsb-en-dev.csv"], "test": ["stsb-en-test.csv"]},
            ["sentence1", "sentence2"],
            "label",
            None,
            {"train": 5749, "validation": 1500, "test": 1379},
            header=None,
            names=["sentence1", "sentence2", "label"],
        ),
        local(
            "glue_sst2",
            {"train": ["stsa.binary.train"], "validation": ["stsa.binary.dev"], "test": ["stsa.binary.test"]},
            ["sentence"],
            "label",
            ["negative", "positive"],
            {"train": 6920, "validation": 872, "test": 1821},
            sep=r"(?<=^[01])\s",
            header=None,
            names=["label", "sentence"],
            quoting=3,
        ),
    ],
)
def test_real_data(tmp_path, source, entry):
    run(tmp_path / "toy.manifest.json", source, entry, local_root=SHARED / "data")
    for split, paths in entry["splits"].items():
        frame = pandas.read_parquet(tmp_path / f"toy/{split}.parquet")
        raw = "".join((SHARED / "data" / source["path"] / path).read_text("utf-8-sig") + "\n" for path in paths)
        lines = [line for line in raw.split("\n") if line][0 if "names" in entry["read"] else 1 :]
        assert len(lines) == len(frame)
        if entry["read"].get("quoting") == 3:  # no text lost a quote, a tab or its neighbour
            last = frame[entry["columns"][-1]]
            assert all(line.strip().endswith(text.strip()) for line, text in zip(lines, last, strict=True))
