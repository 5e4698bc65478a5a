# The folder of the workflow; its Python code is the package hra_workflow.
# In:  nothing.  Out: BASEDIR, the folder of this workflow; workflow.basedir is that of the main Snakefile, which may use
#      this workflow as a module.

import os
import shutil
import tempfile
from pathlib import Path

from snakemake.sourcecache import HostingProviderFile, LocalSourceFile


def installation(folder):
    """Return the folder of a local workflow; check out a release (github, gitlab) in Snakemake's cache, once."""
    if isinstance(folder, LocalSourceFile):
        return Path(folder)
    if not isinstance(folder, HostingProviderFile):
        raise SystemExit(
            f"Error: expected a local Snakefile, github(…) or gitlab(…), found {folder}. Clone the repository"
        )
    repository = folder.hosted_repo.repo
    commit = repository.git.rev_parse(f"{folder.ref}^{{commit}}")
    place = Path(workflow.source_cache_path, "hra", commit)
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        new = tempfile.mkdtemp(prefix=f"{commit}.", dir=place.parent)
        repository.clone(new, no_checkout=True).git.checkout(commit)
        try:
            os.rename(new, place)
        except OSError:  # another process has finished first
            shutil.rmtree(new)
    return place


BASEDIR = installation(workflow.current_basedir.join("..")).resolve()
os.environ.update(HRA_WORKFLOW=str(BASEDIR))  # envs/hra.yaml installs the package from there
try:
    from hra_workflow.core import installed

    installed.check(BASEDIR)
except ModuleNotFoundError as problem:
    raise SystemExit(
        f"Error: expected the package hra_workflow, found none ({problem}). Install it in Snakemake's environment: "
        f"pip install -e {BASEDIR} -e {BASEDIR}/workflow"
    )
except Exception as problem:
    raise SystemExit(f"Error: {problem}") from None
