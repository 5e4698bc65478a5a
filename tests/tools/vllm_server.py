"""A server of vLLM in another environment, and requests to it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator

# Little memory, and no compilation, which takes a minute: the operations are the same.
ENVIRONMENT = {"VLLM_CPU_KVCACHE_SPACE": "1", "TORCH_COMPILE_DISABLE": "1"}


@contextlib.contextmanager
def running(command: str, **environment: str) -> Iterator[str]:
    """Start a server by a command of bash, to which its port is added; provide its address."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    command += f" --port {address.split(':')[1]}"
    own = os.environ | ENVIRONMENT | {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"} | environment
    with subprocess.Popen(["bash", "-ec", command], env=own, start_new_session=True) as process:
        try:
            while process.poll() is None and not is_up(address):
                time.sleep(1)
            assert process.poll() is None
            yield address
        finally:
            end(process.pid)


def end(group: int) -> None:
    """Kill the server and all that it has started: vLLM's engine outlives a killed process that started it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def is_up(address: str) -> bool:
    try:
        return urllib.request.urlopen(f"http://{address}/health").status == 200
    except OSError:
        return False


def post(address: str, path: str, **content) -> dict:
    request = urllib.request.Request(
        f"http://{address}/v1/{path}", json.dumps(content).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as response:
        return json.load(response)
