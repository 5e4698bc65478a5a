"""Archives of four runs of glue whose files, config and environment contain private values."""

import json
from pathlib import Path

import pytest
from PIL import Image

import collect_runs
import compare
import factories
import table
from glue_tables import grid
from hra_results import archive
from hra_workflow.core import files, predictions, records
from hra_workflow.data import images
from support import ROOT, paper_config

ACCOUNT, HOST, CLUSTER = "alice-q7", "gpu17.cluster.example", "scratchdisk"
TOKEN, SECRET = "hf_" + "Planted0" * 4, "correct-horse-battery"
PRIVATE = (ACCOUNT, "gpu17", CLUSTER, TOKEN, SECRET)
STARTED = 1_795_000_000.0


def build(folder: Path, patch: pytest.MonkeyPatch) -> dict:
    here, results = folder / ACCOUNT / "project", folder / CLUSTER / ACCOUNT / "results"
    for place in (here, results, folder / ACCOUNT / "resources/datasets"):
        place.mkdir(parents=True)
    patch.chdir(here)
    data = folder / ACCOUNT / "resources/datasets/cola.manifest.json"
    mine = {"name": "glue/cola", "own": {"train": f"/home/{ACCOUNT}/mine.csv"}, "sha256": "b" * 64}
    mine |= {"source": {"kind": "local", "path": f"/home/{ACCOUNT}"}, "folder": "cola", "rows": {"train": 3}}
    mine |= {"license": f"that of {ACCOUNT}", "dataset": {"columns": ["sentence"], "label": "label", "labels": ["no"]}}
    mine |= {"files": {"train.parquet": {"bytes": 9, "sha256": "c" * 64}}}
    files.write_json(data, mine)
    runs = [run | {"inputs": {"dataset": str(data)}} for run in grid(results, runs=("hra/r8", "lora/r8"), seeds=(0, 1))]
    paths = [plant(results, run, data) for run in runs]
    every = [
        factories.collect_job(results, runs, paths) | {"script": "collect_runs.py"},
        factories.compare_job(results, runs, []) | {"script": "compare.py"},
        factories.table_job(results, runs) | {"script": "table.py"},
    ]
    for module, job in zip((collect_runs, compare, table), every, strict=True):
        module.main(job)
    logs = here / "logs/train.log"
    files.write_text(logs, f"=== on {HOST}: {TOKEN}")
    (results / "figures").mkdir()
    Image.new("RGB", (4, 4)).save(results / "figures/glue_curves.png")
    trained = [train_job(path, str(data)) for path, _ in paths]
    jobs = [*trained, *evaluate_jobs(paths), *map(full, every), figure_job(results, "curves")]
    jobs.append(figure_job(results, "lambda") | {"needed": True})
    config = paper_config() | {"pathvars": {"results": str(results), "resources": str(data.parents[1])}}
    config["local_root"] = f"/home/{ACCOUNT}/data"
    config["models"]["mine"] = {"source": {"kind": "local", "path": f"/mnt/{CLUSTER}/model", "token": TOKEN}}
    return {"version": 1, "basedir": str(ROOT), "config": config, "jobs": jobs, "here": here}


def plant(results: Path, run: dict, data: Path) -> tuple[str, list[str]]:
    """Write the files of a run, as factories.write, with private values in all of them."""
    lines = [{"item": 0, "text": f"a {TOKEN} of {HOST} in /mnt/{CLUSTER}/x, by {ACCOUNT}", "last": [0.5]}]
    path, [metrics] = factories.write(results, run, factories.noisy_curve(run), lines)
    place = Path(path).parent
    for name in ("last/adapter_config.json", "last/adapter_model.safetensors"):
        (place / name).parent.mkdir(exist_ok=True)
    files.write_json(place / "last/adapter_config.json", {"base_model_name_or_path": f"{data.parents[1]}/models/m"})
    header = json.dumps({"__metadata__": {"format": "pt"}}).encode()
    (place / "last/adapter_model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    weights = {str(one.relative_to(place)): files.sha256(one) for one in sorted((place / "last").iterdir())}
    changed = {"weights_sha256": weights, "discarded": [f"/home/{ACCOUNT}/é: of another config, on {HOST}"]}
    records.write(path, records.read(path) | changed)
    head = {"inputs": {str(data): "b" * 64, path: records.read(path)[records.SEAL]}}
    answers = Path(metrics).with_name("predictions.jsonl.gz")
    predictions.write(answers, lines, head)
    picture = images.Picture("row0", images.to_png(Image.new("RGB", (4, 4))), {"prompt": f"by {ACCOUNT}"})
    images.pack(answers.with_name("images.tar"), [picture], head=head)
    found = records.read(metrics)
    found["made_from"]["inputs"] = head["inputs"]
    found |= {"predictions_sha256": files.sha256(answers)}
    records.write(metrics, found)
    return path, [metrics]


def full(job: dict) -> dict:
    """Add what a job has under Snakemake."""
    outputs = [*job["output"].values()]
    given = [path for paths in job["input"].values() for path in ([paths] if isinstance(paths, str) else paths)]
    more = {"inputs": given, "outputs": outputs, "benchmark": None, "started": STARTED, "finished": STARTED + 60}
    more |= {"tables": [], "needed": False}
    rule = Path(job["script"] or "sheet").stem
    return {"rule": rule, "wildcards": {"task": "glue"}, "params": {}} | more | job


def train_job(path: str, data: str) -> dict:
    place = Path(path).parent
    output = {"record": path, "config": str(place / "last/adapter_config.json")}
    output |= {"weights": str(place / "last/adapter_model.safetensors")}
    params = {"expects": {"settings": ["method"]}, "method": {"r": 8}, "scratch": f"/mnt/{CLUSTER}/scratch"}
    job = {"script": "train_glue.py", "input": {"dataset": data}, "output": output, "params": params}
    return full(job)


def evaluate_jobs(paths: list[tuple[str, list[str]]]) -> list[dict]:
    def output(path: str) -> dict:
        names = {"metrics": "metrics.json", "predictions": "predictions.jsonl.gz", "images": "images.tar"}
        return {name: str(Path(path).with_name(file)) for name, file in names.items()}

    return [
        full({"script": "evaluate_glue.py", "input": {"record": record}, "output": output(path)})
        for record, [path] in paths
    ]


def figure_job(results: Path, name: str) -> dict:
    return full({"script": "figures.py", "input": {}, "output": {"png": str(results / f"figures/glue_{name}.png")}})


def write(built: dict, patch: pytest.MonkeyPatch, to: Path, **options) -> Path:
    patch.chdir(built["here"])
    for name, value in {"USER": ACCOUNT, "HOSTNAME": HOST, "HF_TOKEN": TOKEN, "MY_SECRET": SECRET}.items():
        patch.setenv(name, value)
    patch.setattr(archive.descriptions, "environment", lambda: {"distributions": {}, "at": f"/home/{ACCOUNT}/.venv"})
    return archive.write(built, "glue", str(to), **options)
