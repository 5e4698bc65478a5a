"""The tables of README.md and benchmarks/README.md, from benchmarks/results/."""

import csv
from pathlib import Path

from benchmarks.drift import MEASURES, SIZE

ROOT = Path(__file__).parents[1]
PROCESSORS = {"AMD EPYC": "AMD", "Intel(R) Xeon(R) Processor": "Intel"}
KINDS = {"peft": "PEFT 0.21.2", "next": "PR 3185", "hra": "**hra**"}
SHAPES = {
    "Linear 768": ("step", "linear", "768x768 512 tokens"),
    "Linear 2048": ("step", "linear", "2048x2048 512 tokens"),
    "Linear 4096": ("step", "linear", "4096x4096 512 tokens"),
    "Conv2d 320, 3 × 3": ("step", "conv2d", "320 channels 3x3 1x32x32"),
    "Conv2d 640, 3 × 3": ("step", "conv2d", "640 channels 3x3 1x32x32"),
    "LLaMA of 12 blocks, width 576: a decoded token": ("inference", "small-llama", "1x1 tokens"),
    "the same, training on 1 × 64 tokens": ("step", "small-llama", "1x64 tokens"),
    "the same, 4 × 32 tokens": ("step", "small-llama", "4x32 tokens"),
    "the same, 8 × 128 tokens": ("step", "small-llama", "8x128 tokens"),
    "2 blocks of LLaMA2-7B, 512 tokens": ("step", "llama 2 layers", "512 tokens"),
    "DeBERTaV3-base, 32 × 64 tokens": ("step", "deberta-base", "32x64 tokens"),
    "DeBERTaV3-base, 4 × 128 tokens": ("step", "deberta-base", "4x128 tokens"),
    "UNet of Stable Diffusion at half width, 2 × 16 × 16": ("step", "unet", "half width 2x16x16"),
    "merging and unmerging a 4096 × 4096 layer": ("merge+unmerge", "linear", "4096x4096 1 tokens"),
}
DRIFT = ("linear", f"{SIZE}x{SIZE} trained", "8")
LAYERS, MODELS = list(SHAPES)[:5], list(SHAPES)[5:]
Rows = dict[tuple[str, ...], dict[str, str]]  # rows by processor, what, case, size, r and dtype


def write(results: Path, root: Path = ROOT) -> None:
    """Write the tables of the three pages."""
    rows = read(results)
    ways = [("8", "float32"), ("32", "float32"), ("8", "bfloat16"), ("32", "bfloat16")]
    layers = [
        (f"{name}, r = {r}{', bfloat16' * (dtype != 'float32')}", (*SHAPES[name], r, dtype))
        for name in LAYERS
        for r, dtype in ways
    ]
    models = [(name, (*SHAPES[name], "8", "float32")) for name in MODELS]
    for path, name, lines in (
        (root / "README.md", "headline", headline(rows)),
        (root / "benchmarks/README.md", "layers", relative("one layer", layers, rows)),
        (root / "benchmarks/README.md", "models", relative("r = 8, float32", models, rows)),
        (root / "benchmarks/README.md", "sync", sync(rows)),
    ):
        put(path, name, lines)


def put(path: Path, name: str, lines: list[str]) -> None:
    path.write_text(filled(path, name, lines))


def filled(path: Path, name: str, lines: list[str]) -> str:
    """Return a page with other lines between `<!-- table NAME -->` and `<!-- end -->`."""
    start, end = f"<!-- table {name} -->\n", "\n<!-- end -->"
    text = path.read_text()
    if text.count(start) != 1:
        raise ValueError(f"{path}: expected one line `{start.strip()}`, found {text.count(start)}. Add it.")
    before, _, rest = text.partition(start)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"{path}: expected a line `{end.strip()}` after `{start.strip()}`, found none. Add it.")
    return before + start + "\n".join(lines) + end + after


def read(results: Path) -> Rows:
    """Read the results; those of next.csv replace the others."""
    rows: Rows = {}
    for path in sorted(results.glob("*.csv"), key=lambda path: path.stem == "next"):
        with open(path) as file:
            for row in csv.DictReader(file):
                if row.get("hra/lora") or row.get("what") == "drift":
                    if row.get("peft/hra"):
                        row["peft/lora"] = str(float(row["peft/hra"]) * float(row["hra/lora"]))
                    what = row["unit"] if row["what"] == "drift" else row["what"]
                    key = row["machine"].partition(",")[0], what, *(row[k] for k in ("case", "size", "r", "dtype"))
                    rows.setdefault(key, {}).update({name: value for name, value in row.items() if value})
    return rows


def cell(rows: Rows, processor: str, case: tuple[str, ...], kind: str) -> str:
    """Return a kind's time relative to LoRA's, with three digits, or a dash."""
    value = rows.get((processor, *case), {}).get(f"{kind}/lora")
    if not value:
        return "–"
    text = f"{float(value):.{2 if float(value) < 3 else 1 if float(value) < 20 else 0}f}"
    return f"**{text}**" if kind == "hra" else text


def relative(title: str, cases: list[tuple[str, tuple[str, ...]]], rows: Rows) -> list[str]:
    """Build a table with one row per measured case, and one column per processor and kind."""
    columns = [(processor, kind) for processor in PROCESSORS for kind in KINDS]
    table = {label: [cell(rows, processor, case, kind) for processor, kind in columns] for label, case in cases}
    table = {label: cells for label, cells in table.items() if {*cells} != {"–"}}
    kept = [i for i in range(len(columns)) if any(cells[i] != "–" for cells in table.values())]
    titles = [f"{PROCESSORS[processor]}: {KINDS[kind]}" for processor, kind in columns]
    return [
        "| " + " | ".join([f"{title}, relative to LoRA", *(titles[i] for i in kept)]) + " |",
        "|---" + "|--:" * len(kept) + "|",
        *("| " + " | ".join([label, *(cells[i] for i in kept)]) + " |" for label, cells in table.items()),
    ]


def headline(rows: Rows) -> list[str]:
    """Build README's table, with one row per processor."""
    lines = [
        "| Training time of a 4096 × 4096 layer | LoRA | HRA (PEFT 0.21.2) | HRA (PEFT 3185) | **HRA (hra)** |",
        "|---|---|---|---|---|",
    ]
    for processor in PROCESSORS:
        released, later, ours = (
            cell(rows, processor, (*SHAPES["Linear 4096"], "8", "float32"), kind) for kind in KINDS
        )
        name = processor.replace("(R)", "").replace(" Processor", "")
        lines.append(f"| {name}, 2 cores, float32 | 1.00 | {released} | {later} | {ours} |")
    return lines


def sync(rows: Rows) -> list[str]:
    """Build the table of merging and unmerging, with the times and the drifts of the first processor that has both."""
    time, drift = ("merge+unmerge", "linear", "4096x4096 1 tokens", "8"), (MEASURES[0], *DRIFT)
    lines = [
        "| | LoRA | HRA (PEFT 0.21.2) | **HRA (hra)** |",
        "|---|--:|--:|--:|",
    ]
    processor = next(name for name in PROCESSORS if (name, *drift, "float32") in rows)
    for dtype in ("float32", "bfloat16"):
        times = (cell(rows, processor, (*time, dtype), kind) for kind in ("peft", "hra"))
        lines.append(f"| time of a merge and unmerge, {dtype} | 1.00 | {' | '.join(times)} |")
    for dtype in ("float32", "bfloat16"):
        row = rows[processor, *drift, dtype]
        values = [f"{float(row[kind]):.0e}".replace("e-0", "e-") for kind in ("lora", "peft", "hra")]
        lora, peft, ours = ("0" if float(value) == 0 else value for value in values)
        lines.append(f"| ‖ΔW‖ / ‖W‖ after 200 merges and unmerges, {dtype} | {lora} | {peft} | **{ours}** |")
    return lines
