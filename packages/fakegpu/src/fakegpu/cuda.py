"""A CUDA device on a machine without one: a guard that does nothing (guard.cpp), and the functions of torch.cuda."""

import ctypes
import hashlib
import importlib.util
import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from fakegpu.timing import Speed

SOURCE = Path(__file__).with_name("guard.cpp")
CONTEXT_BYTES = 600_000_000  # size of a CUDA context with cuBLAS and cuDNN


class Card(NamedTuple):
    name: str
    total_memory: int
    major: int
    minor: int
    speed: Speed


# Speeds: the fastest square products of torch.mm (zzc0721/torch-performance-test-data 9d82827, database.md), and what
# gpu-stream and gpu-l2-cache read (te42kyfo/gpu-benches 1c36d50). If they lack a card, a similar one: the L40 for the
# L40S and the RTX 4090, the A40 for the A6000; the fraction of the data sheet that the A100 reaches for TF32, and the
# H100 PCIe for an SXM card's memory. float64, of which one in 64 units is on the cards without HBM: data sheets.
CARDS = {
    "v100": Card(
        "Tesla V100-SXM2-32GB", 34_072_559_616, 7, 0, Speed(94.8e12, 14.1e12, 14.1e12, 7.8e12, 0.81e12, 2.3e12, 6e6)
    ),
    "rtx4090": Card(
        "NVIDIA GeForce RTX 4090", 25_386_352_640, 8, 9, Speed(165e12, 82e12, 50e12, 1.29e12, 0.93e12, 5.2e12, 72e6)
    ),
    "a100-40gb": Card(
        "NVIDIA A100-SXM4-40GB", 42_298_834_944, 8, 0, Speed(264e12, 118e12, 19.2e12, 9.7e12, 1.38e12, 5.4e12, 40e6)
    ),
    "a6000": Card(
        "NVIDIA RTX A6000", 51_041_271_808, 8, 6, Speed(123e12, 59e12, 23.9e12, 0.6e12, 0.68e12, 2.2e12, 6e6)
    ),
    "l40s": Card("NVIDIA L40S", 47_810_936_832, 8, 9, Speed(269e12, 139e12, 46.9e12, 1.43e12, 0.84e12, 5.2e12, 96e6)),
    "a100": Card(
        "NVIDIA A100-SXM4-80GB", 85_024_112_640, 8, 0, Speed(264e12, 118e12, 19.2e12, 9.7e12, 1.75e12, 5.4e12, 40e6)
    ),
    "h100": Card(
        "NVIDIA H100 80GB HBM3", 85_024_112_640, 9, 0, Speed(797e12, 402e12, 52e12, 33e12, 3.0e12, 7.0e12, 50e6)
    ),
    "h200": Card("NVIDIA H200", 150_122_987_520, 9, 0, Speed(797e12, 402e12, 52e12, 33e12, 3.5e12, 9.7e12, 50e6)),
}


class NoDevice(Exception):
    """Raised if this machine or this version of torch cannot have a fake device."""


def load():
    """Import torch with the guard in place, and return it. Call before anything else imports torch.

    Raises NoDevice without a C++ compiler, or if the guard does not fit this version of torch.
    """
    package = Path(importlib.util.find_spec("torch").origin).parent
    guard = build(package)
    for library in ("libc10.so", "libtorch_cpu.so"):
        ctypes.CDLL(str(package / "lib" / library), mode=ctypes.RTLD_GLOBAL)
    guard = ctypes.CDLL(str(guard), mode=ctypes.RTLD_GLOBAL)
    import torch

    guard.fake_cuda_guard()
    if not guard.has_fake_cuda():
        raise NoDevice(f"torch {torch.__version__} was used before the fake GPU, or does not know its hooks.")
    return torch


def build(torch_package: Path) -> Path:
    """Compile the guard once per version of torch, and return the library."""
    version = (torch_package / "version.py").read_bytes()
    digest = hashlib.sha256(SOURCE.read_bytes() + version).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "fakegpu")
    library = cache / f"guard-{digest}.so"
    if library.exists():
        return library
    compiler = shutil.which("g++") or shutil.which("clang++")
    if not compiler:
        raise NoDevice("A fake GPU compiles 60 lines of C++ once: expected g++ or clang++, found neither. Install one.")
    cache.mkdir(parents=True, exist_ok=True)
    new = library.with_suffix(f".{os.getpid()}")
    options = ["-O1", "-shared", "-fPIC", "-std=c++20", f"-I{torch_package / 'include'}", f"-L{torch_package / 'lib'}"]
    done = subprocess.run(
        [compiler, *options, str(SOURCE), "-lc10", "-ltorch_cpu", "-o", str(new)], capture_output=True, text=True
    )
    if done.returncode:
        first = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr[:300])
        raise NoDevice(f"guard.cpp does not compile against this version of torch: {first}")
    os.replace(new, library)
    return library


class Device:
    def __init__(self, *_):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False


class Stream(Device):
    def __init__(self, *_, **__):
        self.device_index, self.stream_id, self.cuda_stream = 0, 0, 0

    def wait_stream(self, *_):
        pass

    wait_event = record_event = synchronize = wait_stream


def imitate(torch, card: Card, observer) -> None:
    """Replace the functions of torch.cuda with those of one idle GPU of a type, whose memory the observer counts."""

    class Properties:
        name, total_memory, major, minor, _ = card
        multi_processor_count, warp_size, max_threads_per_multi_processor = 132, 32, 2048
        is_integrated, gcnArchName = 0, ""

    free = card.total_memory - CONTEXT_BYTES
    constants = {
        "is_available": True, "is_initialized": True, "device_count": 1, "current_device": 0, "set_device": None,
        "init": None, "_lazy_init": None, "empty_cache": None, "ipc_collect": None, "reset_peak_memory_stats": None,
        "get_device_name": card.name, "get_device_properties": Properties, "get_device_capability": card[2:4],
        "is_bf16_supported": card.major >= 8, "is_current_stream_capturing": False, "manual_seed": None,
        "manual_seed_all": None, "_is_compiled": False,
    }  # fmt: skip
    cuda = torch.cuda
    for name, value in constants.items():
        setattr(cuda, name, lambda *_, _value=value, **__: _value)
    cuda.synchronize = lambda *_: observer.wait("torch.cuda.synchronize")
    cuda.mem_get_info = lambda *_: (free - observer.live, card.total_memory)
    cuda.memory_reserved = cuda.memory_allocated = lambda *_: observer.live
    cuda.max_memory_allocated = cuda.max_memory_reserved = lambda *_: observer.peak
    for module in (cuda, cuda.random):
        module.get_rng_state = lambda *_: torch.get_rng_state()
        module.get_rng_state_all = lambda *_: [torch.get_rng_state()]
        module.set_rng_state = module.set_rng_state_all = lambda *_, **__: None
    cuda.Stream, cuda.device, cuda.current_stream = Stream, Device, lambda *_: Stream()
    cuda.amp.common.amp_definitely_not_available = lambda: False
    torch.version.cuda = "13.0"
    torch.accelerator.is_available = lambda *_: True
    torch.accelerator.device_count = lambda: 1
    torch.accelerator.current_accelerator = lambda *_, **__: torch.device("cuda")
    torch.Tensor.pin_memory = lambda self, *_: self
