"""The identity and the inputs of the download jobs: a finished download keeps its identity while the config matches it.

See data/finished_downloads.py.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from snakemake.io import IOFile

from hra_workflow.core.errors import ending_the_run
from hra_workflow.data import finished_downloads, sources
from hra_workflow.tasks import user_data

MANIFEST = re.compile(r"\b(?:models/(?P<model>[^/]+)|datasets/(?P<task>[^/]+)/(?P<dataset>[^/]+))\.manifest\.json$")


def of_manifests(inputs: Iterable, wildcards) -> list[tuple[str, dict]]:
    """Return the rules and wildcards of downloads. inputs: their manifests, as in a rule's `input`."""
    found = []
    for value in (one(wildcards) if callable(one) else one for one in inputs):
        for path in [value] if isinstance(value, str) else value:
            named = {key: name for key, name in MANIFEST.search(path.format(**wildcards)).groupdict().items() if name}
            found.append(("download_model" if "model" in named else "download_dataset", named))
    return found


class Downloads:
    """The identity and input of the download rules. `tasks`: the tasks by name."""

    def __init__(self, config: dict, workflow, tasks: Mapping):
        self.config, self.workflow, self.tasks = config, workflow, tasks
        self.resources = config["pathvars"]["resources"]
        self.known: dict[str, dict] = {}  # by manifest: a retry of the job, which has deleted it, gets the same params

    def planned(self, wildcards) -> dict:
        named = dict(wildcards.items())
        manifest, source, dataset = self.entry(named)
        reads_results = not self.workflow.is_main_process or self.config.get("request")
        if manifest not in self.known and reads_results and Path(manifest).exists():
            # On a compute node, or to export a run, the user's files may be missing.
            self.known[manifest] = finished_downloads.planned_params(source, manifest)
        if manifest not in self.known:
            # A forced job uses the config's source: Snakemake deletes the manifest before it runs the job.
            settings = self.workflow.dag_settings  # known only after the Snakefile has been read
            forced = settings.forceall or any(rule.startswith("download") for rule in settings.forcerun)
            with ending_the_run():  # if the outputs exist, Snakemake ignores exceptions of functions of wildcards
                user_files = sources.of(source, local_root=self.config["local_root"]).user_files(dataset)
                planned = finished_downloads.planned_params(source, None if forced else manifest, user_files)
                # Without a record, Snakemake compares no params, and uses another project's download.
                if not forced and self.workflow.persistence.input(IOFile(manifest)) is None:
                    finished_downloads.check_shared(planned, dataset, manifest, user_files)
                if "dataset" in named and self.workflow.is_main_process:  # else the job checks
                    user_data.check(self.tasks[named["task"]], named["dataset"])
            self.known[manifest] = planned
        return self.known[manifest]

    def entry(self, named: dict[str, str]) -> tuple[str, dict, dict | None]:
        """Return the manifest of a download, its source, and for a dataset the part of its entry that the job gets."""
        if "model" in named:
            place, source, dataset = f"models/{named['model']}", self.config["models"][named["model"]]["source"], None
        elif "address" in named:
            place, source, dataset = f"archives/{named['address']}", sources.of_archive(named["address"]), None
        else:
            task, name = named["task"], named["dataset"]
            place, source = f"datasets/{task}/{name}", self.config["datasets"][task][name]["source"]
            dataset = self.tasks[task].download(name)
        return f"{self.resources}/{place}.manifest.json", source, dataset

    def source(self, wildcards) -> dict:
        return self.planned(wildcards)["source"]

    def contents(self, wildcards) -> str | None:
        return self.planned(wildcards)["contents"]

    def archive(self, wildcards) -> str | list:
        """Return the manifest of the archive that the source unpacks, or []."""
        address = sources.of(self.source(wildcards)).archive
        return f"{self.resources}/archives/{address}.manifest.json" if address else []

    def update_links(self) -> None:
        """Update links to the user's files, and their entries in manifests, before the first job.

        Both are outdated after the files have been moved, copied or touched. The manifests keep their times.
        """
        for manifest, download in self.known.items():
            if download.get("own"):
                finished_downloads.update_manifest(Path(manifest), download["paths"], download["own"])
