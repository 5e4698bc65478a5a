"""Print how large the project is, and fail beyond the limits: python .ci/size.py [--list].

size.yaml has the limits, and the files that one reads on each path: from the Snakefile to a cell of a table, for a
fifth task, and so on. Lines are those of .py, .smk and Snakefile files, with blank lines and comments.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
TABLE = "results/table_glue.csv"
# Writes the files of all modules that a program has imported to the file that its first argument names.
REPORT = """
import json, sys
file, found = sys.argv[1], lambda: [getattr(one, "__file__", None) for one in [*sys.modules.values()]]
report = lambda: open(file, "w").write(json.dumps([*filter(None, found())]))
"""
PLAN = f"""{REPORT}
import atexit
atexit.register(report)
from snakemake.cli import main
main(["-n", "-q", "all", "-s", {str(ROOT / "Snakefile")!r}, "--", {TABLE!r}])
"""


def tracked() -> list[str]:
    """List the source files that git tracks, and new ones."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = [name for name in listed.stdout.splitlines() if name.endswith((".py", ".smk")) or name == "Snakefile"]
    return sorted(name for name in found if (ROOT / name).is_file())


def lines(names: list[str]) -> int:
    return sum(len((ROOT / name).read_bytes().splitlines()) for name in names)


def below(names: list[str], folders: list[str], test: bool = False) -> list[str]:
    chosen = [name for name in names if any(name == one or name.startswith(f"{one}/") for one in folders)]
    return [name for name in chosen if ("tests" in Path(name).parts) == test]


def loaded(scripts: list[str]) -> list[str]:
    """List the project's modules that the plan of a GLUE table loads, and those at the tops of its scripts."""
    places = [ROOT, ROOT / "workflow", ROOT / "workflow/scripts"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, places)), "HF_HUB_OFFLINE": "1"}
    found: set[str] = set()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "modules.json")
        for program in (PLAN, f"{REPORT}\nimport {', '.join(scripts)}\nreport()"):
            command = [sys.executable, "-c", program, str(report)]
            done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(done.stdout + done.stderr)
            found |= {*json.loads(report.read_text())}
    paths = [Path(one).resolve() for one in found]
    return sorted(str(one.relative_to(ROOT)) for one in paths if one.is_relative_to(ROOT) and ".venv" not in one.parts)


def main() -> int:
    content = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text())
    names, problems = tracked(), []
    modules = loaded(content["scripts"])
    rows: list[tuple[str, int | None, int]] = [
        (name, None, lines(below(names, folders, test=name == "tests"))) for name, folders in content["parts"].items()
    ]
    optional = ("packages", "studies")  # may be deleted
    for name, files in content["paths"].items():
        missing = [file for file in files if not (ROOT / file).is_file()]
        problems += [f"{name}: {file} does not exist. Correct size.yaml" for file in missing]
        rows.append((name, len(files), lines([file for file in files if file not in missing])))
    rows.append(("modules that a GLUE table loads", len(modules), lines(modules)))
    for name, count, total in rows:
        found, limit = (count, total), content["limits"].get(name)
        shown = ", ".join(f"{one:,}" for one in limit or () if one is not None)
        most = f"  (at most {shown})" if limit else ""
        problems += [f"{name}: expected files, found none. Correct size.yaml"] * (not total and name not in optional)
        print(f"{name:58} {'' if count is None else f'{count} files':>10} {total:>8,} lines{most}")
        if limit and any(allowed is not None and one > allowed for one, allowed in zip(found, limit, strict=True)):
            problems.append(f"{name}: expected no more than the limit, found more. Remove a mechanism, or move one out")
    if "--list" in sys.argv:
        print(*modules, sep="\n")
    print(*problems, sep="\n")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
