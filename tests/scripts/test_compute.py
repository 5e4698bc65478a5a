"""Table 6 on hand-made results."""

from pathlib import Path

import pandas as pd
import pytest

import table_compute
from hra_workflow.core import files
from hra_workflow.core.errors import JobError
from hra_workflow.report import run_columns, run_statistics
from published import PUBLISHED, line


def training(run: str, seed: int, hours: float, gigabytes: float, processes: int = 8, **more) -> dict:
    method, variant = run.split("/")
    row = {"method": method, "variant": variant, "seed": seed, "processes": processes, "seconds": hours * 3600}
    return row | {"peak_memory_bytes": round(gigabytes * 1e9)} | more


def compute(folder: Path, trainings: list[dict]) -> pd.DataFrame:
    """Make the table of training runs, each with two metrics."""
    common = {"task": "math", "dataset": "d", "benchmark": "test", "selection": "last", "status": "ok", "seed": 0}
    common |= {"trainable_parameters": 8388608, "total_parameters": 6746804224}
    common |= {"device": "NVIDIA H100", "micro_batch": 8}
    rows = [common | made | {"metric": metric} for made in trainings for metric in ("official", "strict")]
    frame = pd.DataFrame(rows, columns=list(run_columns.columns()))
    files.write_text(folder / "runs_math.csv", frame.to_csv(index=False))
    job = {
        "rule": "table_compute",
        "input": {"runs": str(folder / "runs_math.csv"), "published": str(PUBLISHED / "compute.csv")},
        "output": {"csv": str(folder / "table.csv"), "markdown": str(folder / "table.md")},
        "params": {"rows": [{"run": run, "label": run} for run in ("lora/r16", "oft/b16", "hra/r32")]},
    }
    table_compute.main(job)
    return run_statistics.read_csv(folder / "table.csv")


def test_costs_in_the_papers_units(tmp_path):
    made = compute(tmp_path, [training("hra/r32", 0, 2, 30), training("hra/r32", 1, 4, 31)])
    row = line(made, "hra/r32")
    wanted = {
        "n": "2/2", "device": "NVIDIA H100", "devices": "8", "micro_batch": "8",
        "Parameters": "8388608", "Parameters (%)": "0.124", "Parameters (%)_published": "0.12",
        "Training time (h)": "3.00", "Training time (h)_std": "1.41", "Training time (h)_published": "30",
        "Device hours": "24.00", "Device hours_published": "",
        "Peak memory per device (GB)": "30.5", "Peak memory (GB)": "244.0", "Peak memory (GB)_published": "287",
        "hardware_published": "8x RTX A6000",
    }  # fmt: skip
    assert {name: row[name] for name in wanted} == wanted
    text = (tmp_path / "table.md").read_text()
    for part in ("3.00 ± 1.41", "8x NVIDIA H100", "8x RTX A6000", "does not specify how time and memory were"):
        assert part in text, part
    assert "Different" not in text


def test_unequal_micro_batches_are_noted(tmp_path):
    made = compute(tmp_path, [training("hra/r32", 0, 2, 30), training("oft/b16", 0, 2, 60, micro_batch=16)])
    assert [line(made, run)["micro_batch"] for run in ("hra/r32", "oft/b16")] == ["8", "16"]
    assert "**Different micro-batches** on d: 16, 8. Time and memory are not" in (tmp_path / "table.md").read_text()


def test_times_on_a_shared_gpu_are_refused(tmp_path):
    runs = [training("hra/r32", 0, 2, 30, runs_per_gpu=1), training("hra/r32", 1, 4, 31, runs_per_gpu=4)]
    with pytest.raises(JobError, match=r"hra/r32/1 shared its GPU with other runs.*Delete its train\.json"):
        compute(tmp_path, runs)


def test_data_sets_are_apart_and_mixed_devices_are_noted(tmp_path):
    trainings = [training("hra/r32", 0, 2, 30), training("hra/r32", 0, 20, 30, dataset="large")]
    trainings += [training("hra/r32", 1, 3, 60, processes=4, device="NVIDIA A100", dataset="large")]
    made = compute(tmp_path, trainings)
    ours = made[made["run"] == "hra/r32"]
    assert ours[["dataset", "Training time (h)"]].to_numpy().tolist() == [["d", "2.00"], ["large", "11.50"]]
    assert ours["Device hours"].tolist() == ["16.00", f"{(20 * 8 + 3 * 4) / 2:.2f}"]
    assert "**Different devices** on large: NVIDIA A100, NVIDIA H100. " in (tmp_path / "table.md").read_text()
