"""croissant.json: the data of an archive's tables, with hashes, splits and licences from the manifests."""

import json

from hra_results.archives import contents, croissant

PUBLISHED, HUB = "2026-12-01T10:00:00Z", "https://huggingface.co/datasets"
FILE = {"bytes": 5, "sha256": "a" * 64}
QUESTIONS = {  # converted: its source at the revision, and the file that jobs read
    "name": "math/gsm8k",
    "source": {"kind": "hub", "repo": "openai/gsm8k", "repo_type": "dataset", "revision": "main"},
    "revision": "c" * 40,
    "folder": "gsm8k",
    "license": "MIT",
    "dataset": {"columns": {"question": "query", "answer": "response"}, "answer": "gsm8k"},
    "files": {"test.parquet": FILE},
    "rows": {"test": 1319},
    "raw": {"main/test 0.parquet": FILE | {"sha256": "b" * 64}},
}
SENTENCES = {  # generated: no source
    "name": "glue/mine",
    "source": {"kind": "init", "generator": "module:name"},
    "folder": "mine",
    "dataset": {"columns": ["sentence"], "label": "label", "labels": ["no", "yes"]},
    "files": {"train.parquet": FILE},
    "rows": {"train": 9},
    "raw": {"train.parquet": FILE},
}
IMAGES = {
    "name": "control/scenes",
    "source": {"kind": "url", "base": "https://example.org/data", "files": {"scenes 1.zip": None}},
    "folder": "scenes",
    "dataset": {"splits": {}},
    "files": {"scenes 1.zip": FILE},
    "rows": {"train": 9},
}


def described(*manifests: dict) -> dict:
    every = {"resources/models/m.manifest.json": {"name": "m"}}
    every |= {f"resources/datasets/{number}.manifest.json": one for number, one in enumerate(manifests)}
    return croissant.describe("t", every, PUBLISHED)


def test_data_have_their_files_and_a_split_the_columns_of_its_file():
    found = described(QUESTIONS, SENTENCES, IMAGES)
    source = f"{HUB}/openai/gsm8k/resolve/{'c' * 40}/main/test%200.parquet"
    assert {one["@id"]: (one["contentUrl"], one["sha256"][0]) for one in found["distribution"]} == {
        "math/gsm8k/source/main/test 0.parquet": (source, "b"),
        "math/gsm8k/test.parquet": ("resources/datasets/gsm8k/test.parquet", "a"),
        "glue/mine/train.parquet": ("resources/datasets/mine/train.parquet", "a"),
        "control/scenes/scenes 1.zip": ("https://example.org/data/scenes%201.zip", "a"),
    }
    columns = {
        one["@id"]: {field["source"]["extract"]["column"]: field["dataType"] for field in one["field"]}
        for one in found["recordSet"]
    }
    assert columns == {
        "math/gsm8k/test": {"question": "sc:Text", "answer": "sc:Text"},
        "glue/mine/train": {"sentence": "sc:Text", "label": "sc:Integer"},
    }
    assert described(QUESTIONS, SENTENCES, QUESTIONS)["license"] == ["MIT", "not stated for glue/mine"]


def test_an_archive_has_it_without_private_values(made):
    (file,) = json.loads((made / contents.CROISSANT).read_text())["distribution"]
    assert (file["contentUrl"], file["sha256"]) == ("resources/datasets/cola/train.parquet", "c" * 64)
    assert file["description"] == "File of glue/cola, licence: that of ACCOUNT"
