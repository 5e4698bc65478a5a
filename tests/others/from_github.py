"""Folders of a repository on GitHub at one commit."""

import subprocess
from pathlib import Path


def checkout(folder: Path, repository: str, commit: str, *folders: str) -> None:
    """Put some folders of a repository, and the files at its top, into a new folder.

    Raises CalledProcessError if git cannot fetch the commit.
    """
    git = ["git", "-C", str(folder)]
    subprocess.run(["git", "init", "-q", folder], check=True)
    subprocess.run([*git, "sparse-checkout", "set", *folders], check=True)
    url = f"https://github.com/{repository}"
    subprocess.run([*git, "fetch", "-q", "--depth", "1", "--filter=blob:none", url, commit], check=True)
    subprocess.run([*git, "checkout", "-q", "FETCH_HEAD"], check=True)
