"""Measure the workflow's overhead without training: planning a large grid, running a job, starting a script, the
speed-up from a second concurrent shard, runs that share a device, images scored one at a time and in batches,
cached latents, and generated answers.

    python -m benchmarks.workflow               everything, to benchmarks/results/workflow.csv (twelve minutes)
    python -m benchmarks.workflow plan start    only some of plan, jobs, start, shards, packs, evaluate, control,
                                                answers

Each number is reported next to that of bare Snakemake: the same DAG with minimal rules. CPU seconds (user and system,
including children) are robust against other load on the machine; wall seconds are reported as well. The
CSV file is not committed: run this before and after a change, on the same idle machine, and compare.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import platform
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import yaml

from benchmarks import generation

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "workflow.csv"
COPIED = ("Snakefile", "rules", "workflow", "config", "profiles", "envs")
SEEDS = 51  # × 8 datasets × 11 variants: 10,109 jobs
ROUNDS = 3
IMAGES = 120  # sharded
DEMO = {name: f"demo/{name}" for name in ("results", "resources", "scratch", "logs")}  # `pathvars`

PACKED = 4  # training runs
GLUE = ("train_glue", "evaluate_glue_in_training")

# The same files and dependencies as the workflow's rules for GLUE, and nothing else.
BARE = """
RUN = "results/glue/{dataset}/{run}/seed{seed}"
WILDCARDS = dict(dataset=config["datasets"], run=config["runs"], seed=config["seeds"])
wildcard_constraints: seed=r"\\d+"
rule all:
    input: expand(RUN + "/train.json", **WILDCARDS), expand(RUN + "/validation/metrics.json", **WILDCARDS)
rule download:
    output: "resources/{name}.manifest.json"
    shell: "touch {output}"
rule augment:
    input: "resources/model.manifest.json"
    output: "augmented/{run}/seed{seed}/manifest.json"
    shell: "touch {output}"
rule train:
    input: "resources/model.manifest.json", "resources/{dataset}.manifest.json",
           "augmented/{run}/seed{seed}/manifest.json"
    output: RUN + "/train.json", RUN + "/last/adapter_model.safetensors", RUN + "/best/adapter_model.safetensors"
    shell: "touch {output}"
rule evaluate:
    input: RUN + "/train.json", RUN + "/last/adapter_model.safetensors", RUN + "/best/adapter_model.safetensors",
           "resources/model.manifest.json", "resources/{dataset}.manifest.json"
    output: RUN + "/validation/metrics.json", RUN + "/validation/predictions.jsonl.gz"
    shell: "touch {output}"
"""
SHELL = 'shell: "echo > {output}"'
TRIVIAL = {  # case: rule body, scheduler, jobs
    "shell, Snakemake's default": (SHELL, "ilp", 1000),
    "shell, our profile": (SHELL, "greedy", 1000),
    "empty script": ('script: "empty.py"', "greedy", 200),
    "gather_outputs.py": (f'script: "{ROOT}/workflow/scripts/gather_outputs.py"', "greedy", 200),
}
TRIVIAL_RULE = """
rule all:
    input: expand("out/{{i}}", i=range(config["jobs"]))
rule trivial:
    input: shards=["shard.jsonl.gz"], dataset="manifest.json"
    output: outputs="out/{{i}}"
    log: "logs/{{i}}"
    params: split="test", benchmark="test"
    {action}
"""
SCORED = 128  # images
SCRIPTS = [
    "collect_runs", "table", "table_retention", "table_compute", "figures", "gather_outputs", "evaluate_math",
    "print_table", "status", "download", "augment", "train_glue", "train_math", "evaluate_glue", "generate_math",
    "train_subject", "train_control", "generate_subject", "generate_control", "evaluate_subject", "evaluate_control",
    "gather_images", "sheet", "draw_hints", "encode_latents", "generate_class_images",
]  # fmt: skip


def run(command: list[str], folder: Path) -> tuple[float, float]:
    """Measure wall and CPU seconds of a command and its children."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def snakemake(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "snakemake", *arguments]


def row(what: str, case: str, seconds: tuple[float, float], per: int = 1) -> dict:
    wall, cpu = (f"{value / per:.4f}" for value in seconds)
    load = f"{os.getloadavg()[0] / os.cpu_count():.1f}"  # above 1: other processes competed for the cores
    return {"what": what, "case": case, "wall_s": wall, "cpu_s": cpu, "load_per_core": load, "machine": machine()}


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def copy_project(folder: Path) -> None:
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)


def plan(folder: Path) -> Iterator[dict]:
    """Measure a dry run of 10,000 jobs, and the planning that each job repeats on its compute node."""
    copy_project(folder)
    grid = yaml.safe_load((ROOT / "config/glue/task.yaml").read_text())["tasks"]["glue"]["grid"][0]
    grid["seeds"] = list(range(SEEDS))
    (folder / "big.yaml").write_text(yaml.safe_dump({"tasks": {"glue": {"grid": [grid]}}}))
    (folder / "bare").mkdir()
    (folder / "bare/Snakefile").write_text(BARE)
    bare = {"datasets": grid["datasets"], "runs": [run.replace("/", "-") for run in grid["runs"]]}
    (folder / "bare/big.yaml").write_text(yaml.safe_dump(bare | {"seeds": grid["seeds"]}))
    dry = snakemake("-n", "-q", "rules", "--configfile", "big.yaml", "--")
    one = "results/glue/cola/hra/r8/seed0/train.json"
    yield row("dry-run of all tables", "this workflow", run(snakemake("-n", "-q", "rules", "--", "all"), folder))
    yield row("dry-run of 10,109 jobs", "this workflow", run([*dry, "results/table_glue.csv"], folder))
    yield row("dry-run of 9,546 jobs", "bare rules", run([*dry, "all"], folder / "bare"))
    yield row("dry-run of one of them", "this workflow", run([*dry, one], folder))
    yield row("dry-run of one of them", "bare rules", run([*dry, one.replace("hra/r8", "hra-r8")], folder / "bare"))


def jobs(folder: Path) -> Iterator[dict]:
    """Measure the time per job of many sequential jobs, excluding the start and end of Snakemake itself."""
    for number, (case, (action, scheduler, count)) in enumerate(TRIVIAL.items()):
        place = folder / str(number)
        place.mkdir()
        (place / "Snakefile").write_text(TRIVIAL_RULE.format(action=action))
        (place / "empty.py").write_text("open(snakemake.output[0], 'w').close()\n")
        (place / "manifest.json").write_text('{"rows": {"test": 1}}')
        (place / "shard.jsonl.gz").write_bytes(gzip.compress(b'{"benchmark": "test", "item": 0}\n'))
        command = snakemake("--cores", "1", "-q", "all", "--scheduler", scheduler, "--config")
        first = run([*command, "jobs=1"], place)
        rest = run([*command, f"jobs={count + 1}"], place)
        yield row("overhead of a job", case, (rest[0] - first[0], rest[1] - first[1]), per=count)


def start(folder: Path) -> Iterator[dict]:
    """Measure the time until the first line of `main`: each script's imports, under Snakemake's preamble."""
    preamble = "import snakemake.logging, snakemake.iocontainers"
    cases = {"python alone": "pass", "Snakemake's preamble": preamble}
    cases |= {f"{name}.py": f"{preamble}, {name}" for name in SCRIPTS}
    for case, code in cases.items():
        seconds = [run([sys.executable, "-c", code], ROOT / "workflow/scripts") for _ in range(ROUNDS)]
        yield row("start", case, tuple(statistics.median(values) for values in zip(*seconds, strict=True)))


def shards(folder: Path) -> Iterator[dict]:
    """Measure the demo's control images: all in one shard, then in two concurrent shards with one thread each.

    A job's seconds are Snakemake's own (`benchmark:`), including the start of the script.
    """
    copy_project(folder)
    rows = {"train": 8, "validation": IMAGES}
    grid = [{"runs": ["base/pretrained"], "datasets": ["scenes-classes"], "seeds": [0]}]
    overlay = {
        "pathvars": DEMO,
        "datasets": {"control": {"scenes-classes": {"source": {"rows": rows}, "rows": rows}}},
        "tasks": {"control": {"grid": grid}},
    }
    (folder / "shards.yaml").write_text(yaml.safe_dump(overlay))
    command = snakemake("--cores", "2", "-q", "all", "--configfile", "config/demo/config.yaml", "shards.yaml", "--")
    place = "demo/results/control/scenes-classes/base/pretrained/seed0/validation"
    walls = []
    for count in (1, 2):
        made = [f"{place}/shard{shard}-of-{count}" for shard in range(count)]
        run([*command, *(f"{one}.tar" for one in made)], folder)
        measured = []
        for one in made:
            with open(folder / f"{one}.benchmark.tsv", newline="") as stream:
                measured += csv.DictReader(stream, delimiter="\t")
        walls.append(max(float(one["s"]) for one in measured))
        case = f"{count} at once" + (f", {walls[1] / walls[0]:.2f} of one" if count == 2 else "")
        yield row(f"{IMAGES} images in shards", case, (walls[-1], sum(float(one["cpu_time"]) for one in measured)))


def packs(folder: Path) -> Iterator[dict]:
    """Count the GPU jobs of the paper's GLUE table, and measure runs of the demo that share a device or take turns."""
    copy_project(folder)
    for case, runs in (("one run per GPU", 1), ("four runs per GPU", 4)):
        (folder / "glue.yaml").write_text(yaml.safe_dump({"tasks": {"glue": {"resources": {"runs_per_gpu": runs}}}}))
        command = snakemake("-n", "-q", "rules", "--configfile", "glue.yaml", "--", "results/table_glue.csv")
        printed = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
        trained, evaluated = (int(re.search(rf"^{rule} +(\d+)$", printed, re.MULTILINE)[1]) for rule in GLUE)
        shared = re.search(r"training runs in ([\d,]+) GPU jobs", printed)
        jobs = int(shared[1].replace(",", "")) if shared else trained
        text = f"{case}: {jobs} GPU jobs of {trained} runs; with {evaluated} evaluations as jobs {jobs + evaluated}"
        yield row("GPU jobs of table_glue", text, (0.0, 0.0))
    grid = [{"runs": ["hra/r8"], "datasets": ["sentiment"], "seeds": list(range(PACKED))}]
    places = [f"demo/results/glue/sentiment/hra/r8/seed{seed}/train.json" for seed in range(PACKED)]
    starts = [f"demo/resources/augmented/glue/hra/r8/seed{seed}/manifest.json" for seed in range(PACKED)]
    data, walls = "demo/resources/datasets/glue/sentiment.manifest.json", []
    for runs in (1, 2, PACKED):
        resources = {"gpu": 1, "device": "cpu", "runs_per_gpu": runs}
        overlay = {"pathvars": DEMO, "tasks": {"glue": {"grid": grid, "resources": resources}}}
        (folder / "packs.yaml").write_text(yaml.safe_dump(overlay))
        configs = ("--configfile", "config/demo/config.yaml", "packs.yaml")
        command = snakemake("--cores", str(PACKED), "--resources", "gpu_percent=100", "-q", "all", *configs, "--")
        if not walls:
            run([*command, *starts, data], folder)
        seconds = run([*command, *places], folder)
        walls.append(seconds[0])
        yield row(f"{PACKED} runs on one device", f"{runs} at a time, {walls[-1] / walls[0]:.2f} of one", seconds)
        shutil.rmtree(folder / "demo/results")


def evaluate(folder: Path) -> Iterator[dict]:
    """Measure DINO's network (ViT-S/16, random weights) on generated images, from a tar file as in a job.

    On the GPU if there is one. An image is read, decoded, resized and scored.
    """
    path = os.pathsep.join(str(ROOT / name) for name in ("", "workflow/scripts"))
    for batch in (1, 32):
        program = [sys.executable, "-m", "benchmarks.scoring", str(SCORED), str(batch)]
        run(["env", f"PYTHONPATH={path}", *program], folder)
        wall, cpu = map(float, (folder / "seconds").read_text().split())
        case = f"{batch} at a time, {SCORED / wall:.1f} per second"
        yield row(f"{SCORED} images scored", case, (wall, cpu))


def control(folder: Path) -> Iterator[dict]:
    """Measure a step of control training with and without cached latents (control_training.py)."""
    path = os.pathsep.join(str(ROOT / name) for name in ("", "workflow/scripts", "tests"))
    command = ["env", f"PYTHONPATH={path}", sys.executable, "-m", "benchmarks.control_training", "."]
    with (folder / "found.json").open("w") as stream:
        subprocess.run(command, cwd=folder, stdout=stream, stderr=subprocess.DEVNULL, check=True)
    found = json.loads((folder / "found.json").read_text().splitlines()[-1])
    saved = found["encoded"][1] / found["cached"][1]
    yield row("step of control training", "images encoded in it", found["encoded"])
    yield row("step of control training", f"cached latents, {saved:.2f} × as fast by CPU seconds", found["cached"])
    yield row("latents", f"encoding of an image, {found['bytes']} bytes", found["encoding"])
    operations, seconds = found["operations"], found["seconds"]
    share = {name: value / sum(operations.values()) for name, value in operations.items()}
    wall, cpu = (sum(column) for column in zip(*seconds.values(), strict=True))
    case = (
        f"step on an image: {cpu / (cpu - seconds['vae'][1]):.2f} × as fast without VAE by CPU seconds, "
        f"{1 / (1 - share['vae']):.2f} × by operations; text encoder {share['text']:.1%}"
    )
    yield row("Stable Diffusion 1.5", case, (wall, cpu))


def answers(folder: Path) -> Iterator[dict]:
    """Measure generation of answers, at three lengths, against transformers' own `generate`."""
    for limit, case, wall, ratio in generation.cases():
        yield row(f"answers up to {limit} tokens", f"{case}, {ratio:.2f} x as fast", (wall, wall))


def main(arguments: list[str]) -> None:
    parts = {"plan": plan, "jobs": jobs, "start": start, "shards": shards}
    parts |= {"packs": packs, "evaluate": evaluate, "control": control, "answers": answers}
    if unknown := set(arguments) - set(parts):
        sys.exit(f"benchmarks.workflow: expected some of {', '.join(parts)}, got {', '.join(unknown)}")
    os.environ["OMP_NUM_THREADS"] = "1"
    results = []
    for name in arguments or parts:
        with tempfile.TemporaryDirectory() as folder:
            for result in parts[name](Path(folder)):
                results.append(result)
                print(
                    "{what:24} {case:26} {wall_s} s, CPU {cpu_s} s, load {load_per_core}".format(**result), flush=True
                )
    if not arguments:
        with open(RESULTS, "w", newline="") as stream:
            writer = csv.DictWriter(stream, results[0])
            writer.writeheader()
            writer.writerows(results)


if __name__ == "__main__":
    main(sys.argv[1:])
