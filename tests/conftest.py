"""Fixtures of all tests."""

import os

import pytest

from support import DATASET, TINY_MODEL, Run, write_sentences

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Manifests of a tiny model and a tiny dataset."""
    import download

    root = tmp_path_factory.mktemp("resources")
    write_sentences(root / "raw")
    common = {"mirror": None, "local_root": str(root / "raw"), "network": True}
    for name, params in (
        ("model", {"name": "tiny", "source": TINY_MODEL}),
        ("dataset", {"name": "glue/tiny", "source": DATASET["source"], "dataset": DATASET}),
    ):
        download.main(
            {
                "rule": f"download_{name}",
                "input": {},
                "output": {"manifest": str(root / f"{name}.manifest.json")},
                "params": params | common,
                "resources": {},
                "wildcards": {},
                "log": str(root / "log"),
            }
        )
    return {name: str(root / f"{name}.manifest.json") for name in ("model", "dataset")}


@pytest.fixture
def make_run(tmp_path, tiny):
    """make_run(method, name=…, **settings): a run in its own folder, augmented."""
    import augment

    def make(method: dict, name: str = "run", **options) -> Run:
        run = Run(tmp_path / name, tiny, method, **options)
        augment.main(run.augment)
        return run

    return make
