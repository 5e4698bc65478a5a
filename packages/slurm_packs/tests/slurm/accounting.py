"""Slurm's accounting database for a test's cluster: MariaDB and slurmdbd. Root, seconds.

Needs Debian's slurmdbd and mariadb-server.
"""

import shutil
import subprocess

import cluster

SETTINGS = {"AccountingStorageType": "accounting_storage/slurmdbd", "AccountingStorageHost": "127.0.0.1"}
PROGRAMS = ("slurmdbd", "mariadbd", "mariadb-install-db", "mariadb")
SLURMDBD_CONF = """
AuthType=auth/slurm
DbdHost=localhost
DbdPort={ports[0]}
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={ports[1]}
StorageLoc=slurm
PidFile={folder}/slurmdbd.pid
LogFile={folder}/slurmdbd.log
"""


def lacking() -> str:
    """List what is missing for accounting; empty if nothing is."""
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    return f"needs Debian's slurmdbd and mariadb-server; not found: {missing}" if missing else ""


def up() -> dict[str, str]:
    """Start the database and slurmdbd with the cluster's key; return the settings of slurm.conf for it.

    cluster.down stops both.
    """
    ports = cluster.free_ports(2)
    path, data = cluster.FOLDER / "slurmdbd.conf", cluster.FOLDER / "database"
    path.touch(mode=0o600)
    path.write_text(SLURMDBD_CONF.format(ports=ports, folder=cluster.FOLDER))
    options = ("--no-defaults", "--user=root", f"--datadir={data}")
    command = ("mariadb-install-db", *options, "--skip-test-db")
    subprocess.run(command, check=True, timeout=120, stdout=subprocess.DEVNULL)
    local = ("--bind-address=127.0.0.1", f"--port={ports[1]}", f"--socket={cluster.FOLDER}/mariadbd.sock")
    files = (f"--pid-file={cluster.FOLDER}/mariadbd.pid", f"--log-error={cluster.FOLDER}/mariadbd.log")
    cluster.start("setsid", "--fork", "mariadbd", *options, *local, *files, "--skip-grant-tables")
    cluster.until(lambda: not cluster.free(ports[1]), "MariaDB")
    # With libmariadb 11.8.9, slurmdbd ends unless its first attempt to connect succeeds.
    cluster.slurm("mariadb", "--no-defaults", local[-1], "-e", "CREATE DATABASE slurm")
    cluster.start("slurmdbd")
    cluster.until(lambda: not cluster.free(ports[0]), "slurmdbd")
    return SETTINGS | {"AccountingStoragePort": str(ports[0])}
