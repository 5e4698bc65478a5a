"""croissant.json: the data of an archive's tables, with hashes, splits and licences from the manifests."""

import json

import pytest

from hra_results.archives import contents, croissant

PUBLISHED = "2026-12-01T10:00:00Z"
FILE = {"bytes": 5, "sha256": "a" * 64}
QUESTIONS = {
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
SENTENCES = {
    "name": "glue/mine",
    "source": {"kind": "init", "generator": "module:name"},
    "revision": None,
    "folder": "mine",
    "dataset": {"columns": ["sentence"], "label": "label", "labels": ["no", "yes"]},
    "files": {"train.parquet": FILE},
    "rows": {"train": 9},
    "raw": {"train.parquet": FILE},
}
IMAGES = {
    "name": "control/scenes",
    "source": {"kind": "url", "base": "https://example.org/data", "files": {"scenes 1.zip": None}},
    "revision": None,
    "folder": "scenes",
    "dataset": {"splits": {}},
    "files": {"scenes 1.zip": FILE},
    "rows": {"train": 9},
}


def described(manifest: dict) -> dict:
    manifests = {"resources/models/m.manifest.json": {"name": "m"}, "resources/datasets/d.manifest.json": manifest}
    return croissant.describe("t", manifests, PUBLISHED)


@pytest.mark.parametrize(
    ("manifest", "files", "fields"),
    [
        (
            QUESTIONS,  # converted: its source at the revision, and the file that jobs read
            {
                "math/gsm8k/source/main/test 0.parquet": (
                    f"https://huggingface.co/datasets/openai/gsm8k/resolve/{'c' * 40}/main/test%200.parquet",
                    "b" * 64,
                ),
                "math/gsm8k/test.parquet": ("resources/datasets/gsm8k/test.parquet", "a" * 64),
            },
            {"math/gsm8k/test": {"question": "sc:Text", "answer": "sc:Text"}},
        ),
        (
            SENTENCES,  # generated: no source
            {"glue/mine/train.parquet": ("resources/datasets/mine/train.parquet", "a" * 64)},
            {"glue/mine/train": {"sentence": "sc:Text", "label": "sc:Integer"}},
        ),
        (IMAGES, {"control/scenes/scenes 1.zip": ("https://example.org/data/scenes%201.zip", "a" * 64)}, {}),
    ],
)
def test_data_have_their_files_and_a_split_the_columns_of_its_file(manifest, files, fields):
    found = described(manifest)
    assert files == {one["@id"]: (one["contentUrl"], one["sha256"]) for one in found["distribution"]}
    assert fields == {
        one["@id"]: {field["source"]["extract"]["column"]: field["dataType"] for field in one["field"]}
        for one in found["recordSet"]
    }


def test_licences_are_those_of_the_manifests():
    manifests = {"a.manifest.json": QUESTIONS, "b.manifest.json": SENTENCES, "c.manifest.json": QUESTIONS}
    assert croissant.describe("t", manifests, PUBLISHED)["license"] == ["MIT", "not stated for glue/mine"]


def test_every_property_of_croissant_is_in_the_context():
    text = json.dumps(described(QUESTIONS) | {"@context": None})
    assert [name for name in ("recordSet", "field", "dataType", "source", "fileObject", "extract", "column")
            if f'"{name}"' not in text or name not in croissant.CONTEXT] == []  # fmt: skip


def test_an_archive_has_it_without_private_values(made):
    (file,) = json.loads((made / contents.CROISSANT).read_text())["distribution"]
    assert (file["contentUrl"], file["sha256"], file["description"]) == (
        "resources/datasets/cola/train.parquet",
        "c" * 64,
        "File of glue/cola, licence: that of ACCOUNT",
    )
