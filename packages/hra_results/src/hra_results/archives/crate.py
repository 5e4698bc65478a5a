"""ro-crate-metadata.json of an archive, in the Workflow Run Crate profile 0.5 (https://w3id.org/ro/wfrun/workflow/0.5).

The Snakefile is the main workflow, and its run an action from the config to the tables. Each job is another action,
with its script as the instrument. Files that the archive lacks are creative works with their path as the name.
"""

import hashlib
import json
import time
from collections.abc import Iterable
from pathlib import PurePosixPath

from rocrate.model import ContextEntity
from rocrate.rocrate import ROCrate

from hra_results.archives import contents

PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}
BIOSCHEMAS = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"
COMPLETED = "http://schema.org/CompletedActionStatus"
TYPES = {
    ".csv": "text/csv",
    ".json": "application/json",
    ".md": "text/markdown",
    ".html": "text/html",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".gz": "application/gzip",
    ".tar": "application/x-tar",
    ".yaml": "application/yaml",
    ".tsv": "text/tab-separated-values",
    ".py": "text/x-python",
    ".safetensors": "application/octet-stream",
}


def describe(name: str, about: dict, jobs: list[dict], names: Iterable[str], snakefile: str, published: str) -> dict:
    """Return the metadata. names: the files of the archive; published: its time.

    jobs: `rule`, `script`, `inputs`, `outputs`, `params`, `wildcards`, `started` and `finished`, seconds since 1970 or
    None, with paths as in the archive.
    """
    crate, project = ROCrate(version="1.1"), about["project"]
    code = {"version": project["commit"] or project["version"]}
    of_snakefile = {"name": "HRA reproduction", "encodingFormat": "text/plain"} | code
    main = crate.add_workflow(dest_path=snakefile, main=True, lang="snakemake", properties=of_snakefile)
    main["conformsTo"] = {"@id": BIOSCHEMAS}
    root = crate.root_dataset
    root["name"], root["datePublished"] = name, published
    root["description"] = f"Tables, run records and predictions of {name}, with the jobs that made them."
    licence = {"@type": "CreativeWork", "name": "No licence is stated for the results"}
    licence["description"] = "The workflow is licensed under Apache-2.0."
    root["license"] = crate.add(ContextEntity(crate, "#licence", licence))
    root["conformsTo"] = [
        crate.add(ContextEntity(crate, url, {"@type": "CreativeWork", "name": title, "version": version}))
        for url, (title, version) in PROFILES.items()
    ]
    scripts = {job["script"] for job in jobs if job["script"]}
    known = {snakefile: main}
    for path in sorted({*names} - {snakefile, contents.CRATE}):
        kind = {"encodingFormat": TYPES.get(PurePosixPath(path).suffix, "text/plain")}
        if path in scripts:
            kind |= {"@type": ["File", "SoftwareSourceCode"], "name": path} | code
        known[path] = crate.add_file(dest_path=path, properties=kind)
    known[contents.README]["about"] = root

    def entities(paths: Iterable[str]) -> list:
        for path in paths:
            if path not in known:
                work = {"@type": "CreativeWork", "name": path, "description": "not in the archive"}
                known[path] = crate.add(ContextEntity(crate, f"#file-{digest(path)}", work))
        return [known[path] for path in dict.fromkeys(paths)]

    def add_action(instrument, identifier: str, given: list, made: Iterable[str], name: str, about: str, of: list):
        properties = {"name": name, "description": about} | times(of)
        return crate.add_action(instrument, identifier, single(given), single(entities(made)), properties)

    def parameter(key: str, value) -> ContextEntity:
        text = value if isinstance(value, str | int | float) else json.dumps(value, ensure_ascii=False)
        identifier = f"#param-{digest(json.dumps([key, value], sort_keys=True))}"
        found = crate.dereference(identifier)
        properties = {"@type": "PropertyValue", "name": key, "value": text}
        return found or crate.add(ContextEntity(crate, identifier, properties))

    tables = [output for job in about["jobs"] for output in job["output"].values()]
    for slot, paths in (("input", [contents.CONFIG]), ("output", tables)):
        for path in paths:
            formal = crate.add_formal_parameter(path, "File", f"#{slot}-{digest(path)}", valueRequired=slot == "input")
            formal["workExample"], known[path]["exampleOfWork"] = known[path], formal
            main.append_to(slot, formal, compact=True)
    about_run = f"All {len(jobs)} jobs, of one or several calls of Snakemake."
    given, title = entities([contents.CONFIG]), f"Run of the workflow: {name}"
    actions = [add_action(main, "#run", given, tables, title, about_run, jobs)]
    for job in jobs:
        # The params of the jobs that make tables are in archive.json.
        given = entities([*job["inputs"], *([contents.ABOUT] if job["table"] else [])])
        given += [] if job["table"] else [parameter(*one) for one in job["params"].items()]
        listed = ", ".join(f"{key} {value}" for key, value in job["wildcards"].items())
        title, about_job = f"{job['rule']}: {listed}", f"Job of the rule {job['rule']} of the workflow."
        tool, identifier = known.get(job["script"], main), f"#job-{digest(json.dumps(job['outputs']))}"
        actions.append(add_action(tool, identifier, given, job["outputs"], title, about_job, [job]))
    root["mentions"] = actions
    return crate.metadata.generate()


def times(jobs: list[dict]) -> dict:
    """Return status, start and end of an action, as far as Snakemake has recorded them."""
    ends = {"startTime": [job["started"] for job in jobs], "endTime": [job["finished"] for job in jobs]}
    known = {key: [value for value in values if value] for key, values in ends.items()}
    chosen = {key: (min if key == "startTime" else max)(values) for key, values in known.items() if values}
    return {"actionStatus": COMPLETED} | {key: iso(value) for key, value in chosen.items()}


def single(values: list):
    """Return a list of one value as that value, as RO-Crate recommends."""
    return values[0] if len(values) == 1 else values


def iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(seconds))


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
