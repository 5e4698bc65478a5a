"""Run Snakemake and its script jobs in forks of one process per test worker, which has imported what they import.

`forked_python.py SOCKET` is the server. A request is a JSON object (`program`: "snakemake" or a script, `arguments`,
`folder`, `environment`), with standard input, output and error. The answer is the exit status. Numbers that the client
sends meanwhile are signals for the program, which is killed when the client ends. No part of the workflow may be
imported here, since tests change it.

`forked_python.py SOCKET PYTHON ARGUMENT...` is the Python of Snakemake's jobs.
"""

import atexit
import faulthandler
import gc
import json
import os
import select
import signal
import socket
import sys
import traceback
from importlib import import_module

JOBS_PYTHON = "HRA_JOBS_PYTHON"  # environment variable of a Snakemake: the Python of its jobs
BYTES = 1 << 18  # of a request
HEAVY = (  # what script jobs import
    "torch",
    "pandas",
    "accelerate",
    "datasets",
    "transformers.trainer",
    "transformers.models.auto.modeling_auto",
    "peft",
    "matplotlib.pyplot",
)
# What those of diffusion models import, which have one of these words in their names.
DIFFUSION = (
    "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion",
    "diffusers.models.controlnets.controlnet",
)
WORDS = ("subject", "control", "class", "hints")


def request(to: socket.socket, server: str, program: str, arguments: list[str], files: list[int], **how) -> None:
    """Have the server run a program; `how`: `folder` and `environment`. Its exit status can then be received."""
    to.connect(server)
    content = {"program": program, "arguments": arguments, **how}
    socket.send_fds(to, [json.dumps(content).encode()], files)


def connection() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def serve(path: str) -> None:
    """Answer requests until this process is killed."""
    import jsonschema  # noqa: F401 the Snakefile imports it
    import pandas  # noqa: F401
    import smart_open  # noqa: F401
    from snakemake.cli import get_argument_parser

    get_argument_parser()  # imports the plugins
    faulthandler.enable()
    gc.disable()  # a collection visits, and so copies, all memory that a fork shares: a third of the time of a dry run
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with connection() as listener:
        listener.bind(f"{path}.new")
        listener.listen(16)
        os.rename(f"{path}.new", path)  # who waits for the path can connect
        while True:
            client = listener.accept()[0]
            message, files, *_ = socket.recv_fds(client, BYTES, 3)
            wanted = json.loads(message)
            if wanted["program"] != "snakemake":
                preload(wanted["program"])
            assert len(os.listdir("/proc/self/task")) == 1, "a fork of a process with threads can hang"
            if not os.fork():
                break
            client.close()
            for file in files:
                os.close(file)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if child := os.fork():
        supervise(client, child)
    client.close()
    code = 1
    try:
        run(files, **wanted)
        code = 0
    except SystemExit as end:
        code = end.code or 0
        if isinstance(code, str):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
    # Without what Python does at its end, which visits, and so copies, all memory that the fork shares.
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def preload(script: str) -> None:
    for name in HEAVY + (DIFFUSION if any(word in script for word in WORDS) else ()):
        import_module(name)


def supervise(client: socket.socket, child: int) -> None:
    """Pass the client's signals on to the program, and its exit status back."""
    ended = os.pidfd_open(child)
    while ended not in select.select([client, ended], [], [])[0]:
        os.kill(child, int(client.recv(16) or signal.SIGKILL))
    client.send(b"%d" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    os._exit(0)


def run(files: list[int], program: str, arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    """Become the program."""
    for standard, file in enumerate(files):
        os.dup2(file, standard)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    if program == "snakemake":
        from snakemake.cli import main

        sys.path.insert(0, "")
        sys.executable = environment.get(JOBS_PYTHON, sys.executable)
        sys.argv = [program, *arguments]
        main(arguments)
    import runpy

    import torch

    torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))
    sys.path.insert(0, os.path.dirname(program))
    sys.argv = [program, *arguments]
    runpy.run_path(program, run_name="__main__")


def run_job(server: str, python: str, *arguments: str) -> None:
    """Act as the Python of Snakemake's jobs: have the server run a script or Snakemake, and `python` anything else."""
    if arguments[:2] == ("-m", "snakemake"):
        arguments = arguments[1:]
    elif not (arguments and "/.snakemake/scripts/" in arguments[0]):
        os.execv(python, [python, *arguments])
    with connection() as to:
        request(to, server, arguments[0], arguments[1:], [0, 1, 2], folder=os.getcwd(), environment=dict(os.environ))
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, lambda number, _: to.send(b"%d" % number))
        raise SystemExit(int(to.recv(16)))


if __name__ == "__main__":
    serve(sys.argv[1]) if len(sys.argv) == 2 else run_job(*sys.argv[1:])
