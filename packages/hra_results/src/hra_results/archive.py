"""Write an archive of finished tables: a folder or zip file without private values, which it then verifies."""

import os
import tempfile
from collections import Counter
from pathlib import Path

import yaml

from hra_results import verify
from hra_results.archives import contents, crate, croissant, descriptions, private_values, rewriting
from hra_workflow.core import files, provenance, records
from hra_workflow.core.errors import JobError, expect
from hra_workflow.core.wording import listed

RESULTS = (".json", ".csv", ".md", ".gz", ".tsv", ".svg", ".png")
WEIGHTS = (".safetensors", ".tar")
COMMANDED = ("plan_file", "request", "preflight", "probes")  # of the command, not of the results


def kept(path: Path, weights: bool) -> bool:
    """Return whether an output is archived: other formats are data, or made again from an archived file."""
    return path.name.endswith(RESULTS) or (weights and path.name.endswith(WEIGHTS))


def makes_table(job: dict) -> bool:
    return (job["script"] or "").removesuffix(".py") in verify.SCRIPTS


def texts(value) -> list[str]:
    """List all texts in a value of JSON types."""
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for part in parts for text in texts(part)]


def sources(config: dict, jobs: list[dict], weights: bool) -> list[str]:
    """List the files of this machine that are archived."""
    results = os.path.abspath(config["pathvars"]["results"])
    found: dict[str, None] = {}
    for job in jobs:
        outputs = [path for path in job["outputs"] if Path(os.path.abspath(path)).is_relative_to(results)]
        for path in [*outputs, *filter(None, [job["benchmark"]])]:
            inside = [str(one) for one in sorted(Path(path).rglob("*"))] if Path(path).is_dir() else [path]
            found |= dict.fromkeys(one for one in inside if kept(Path(one), weights))
            if Path(path).name == records.OF_RUN and Path(path).exists():
                listed = records.read(path).get("weights_sha256", {})
                place = Path(path).parent
                found |= dict.fromkeys(str(place / one) for one in listed if kept(place / one, weights))
        found |= dict.fromkeys(path for path in job["inputs"] + job["outputs"] if path.endswith("manifest.json"))
        if makes_table(job):  # some of its files are only in params: manifests, error files
            named = texts([job["params"], job["input"]])
            found |= dict.fromkeys(text for text in named if text.endswith(RESULTS) and os.path.isfile(text))
    return [path for path in found if Path(path).is_file()]


def report_of(results: str) -> tuple[list[str], list[str]]:
    """Return the report unless it is older than a table; else why it is left out."""
    path = Path(results, "report.html")
    if not path.exists():
        return [], []
    if any(table.stat().st_mtime > path.stat().st_mtime for table in Path(results).glob("*.csv")):
        return [], [f"{path}: older than the tables (hra-workflow report)"]
    return [str(path)], []


def of_workflow(basedir: Path, jobs: list[dict]) -> list[Path]:
    """List the Snakefile, the rules and the scripts of the jobs."""
    scripts = {basedir / "workflow/scripts" / job["script"] for job in jobs if job["script"]}
    return [basedir / "Snakefile", *sorted((basedir / "rules").rglob("*.smk")), *sorted(scripts)]


def check(paths: list[str]) -> None:
    """Raise JobError if a record has changed since it was written."""
    for path in paths:
        if Path(path).name in verify.RECORDS:
            records.read(path)


def finished(plan: dict) -> tuple[list[dict], list[str]]:
    """Return the finished jobs of a plan, and the outputs of others; raise JobError if a table is not finished."""
    waiting = [job for job in plan["jobs"] if job["needed"]]
    if missing := [job["outputs"][0] for job in waiting if job["tables"]]:
        raise JobError(
            f"expected finished tables, found {len(missing)} jobs that have to run: {listed(missing)}. Run them first "
            "(hra-workflow run) with the same PROJECT; `hra-workflow plan` lists their reasons."
        )
    return [job for job in plan["jobs"] if not job["needed"]], [path for job in waiting for path in job["outputs"]]


def write(plan: dict, name: str = "all", to: str | None = None, weights: bool = True) -> Path:
    """Write an archive; return its path. plan: the file of a dry run. weights: with adapters and images."""
    config, basedir = plan["config"], Path(plan["basedir"])
    jobs, unmade = finished(plan)
    target = Path(to or Path(config["pathvars"]["results"]) / f"archive_{name}.zip")
    contents.expect_absent(target)
    report, left_out = report_of(config["pathvars"]["results"])
    left_out += [f"{path}: not made yet, or outdated (hra-workflow run)" for path in unmade]
    paths = [*sources(config, jobs, weights), *report]
    check(paths)
    replacements = private_values.of_this_machine(config, basedir, os.environ)
    replacements.add_outside(paths)
    place = replacements.place
    own = {place(path): Path(path) for path in [*paths, *of_workflow(basedir, jobs)]}
    with tempfile.TemporaryDirectory() as folder:
        rewritten = rewriting.Rewriting(replacements, Path(folder))
        rewritten.rewrite(own)
        about = {
            "format": contents.FORMAT,
            "name": name,
            "project": descriptions.project(),
            "weights": weights,
            "jobs": [table_job(job, replacements) for job in jobs if makes_table(job)],
        }
        merged = replacements.value({key: value for key, value in config.items() if key not in COMMANDED})
        shown = {"files": rewritten.report(), "left_out": replacements.value(left_out)}
        trained = [records.read(path) for path in paths if Path(path).name == records.OF_RUN]
        metrics = [one for one in own if one.endswith("/metrics.json")]
        published, downloads = provenance.now(), [path for path in paths if path.endswith(".manifest.json")]
        data = croissant.describe(name, {place(path): files.read_json(path) for path in downloads}, published)
        made = {
            contents.ABOUT: contents.as_json(about),
            contents.CONFIG: yaml.safe_dump(merged, sort_keys=False, allow_unicode=True, width=120).encode(),
            contents.ENVIRONMENT: contents.as_json(replacements.value(descriptions.environment())),
            contents.CROISSANT: contents.as_json(replacements.value(data)),
            contents.REPLACED: contents.as_json(shown),
            contents.README: descriptions.readme(about, trained, metrics, shown["files"], shown["left_out"]).encode(),
        }
        actions = [described(job, replacements, basedir) for job in jobs]
        names, snakefile = [*own, *made, contents.LIST], place(basedir / "Snakefile")
        metadata = crate.describe(name, about, actions, names, snakefile, published)
        made[contents.CRATE] = contents.as_json(metadata)
        clash = own.keys() & made.keys()
        expect(not clash, f"expected no file of the results with the name {', '.join(clash)}, found one. Rename it.")
        with contents.written(target, contents.with_list(own | rewritten.changed | made)) as temporary:
            try:
                found = verify.verify(temporary)
            except JobError as problem:
                raise JobError(f"Nothing was written. {str(problem).replace(str(temporary), target.name)}") from None
    print(f"archive {target}: {verify.summary(found)}. Check a copy: hra-workflow verify {target}")
    for kind, number in sorted(sum(rewritten.counts.values(), start=Counter()).items()):
        print(f"  replaced: {kind}, {number} times ({contents.REPLACED} lists the files)")
    for line in left_out:
        print(f"  left out: {line}")
    return target


def table_job(job: dict, replacements: private_values.Replacements) -> dict:
    """Return a job that makes a table, with paths as in the archive and without empty inputs."""
    given = {name: value for name, value in job["input"].items() if value}
    plain = {"script": job["script"].removesuffix(".py"), "input": given}
    plain |= {name: job[name] for name in ("rule", "output", "params", "wildcards")}
    return replacements.value(plain)


def described(job: dict, replacements: private_values.Replacements, basedir: Path) -> dict:
    """Return a job as crate.py needs it, with the params that its result depends on."""
    script = basedir / "workflow/scripts" / job["script"] if job["script"] else None
    return replacements.value(
        {name: job[name] for name in ("rule", "inputs", "outputs", "wildcards", "started", "finished")}
        | {"script": replacements.place(script) if script else None, "table": makes_table(job)}
        | {"params": {name: job["params"][name] for name in job["params"].get("expects", {"settings": []})["settings"]}}
    )
