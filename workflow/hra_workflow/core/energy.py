"""The energy that the GPUs of a job have used, from NVML's counters."""


def watt_hours() -> float | None:
    """Return the sum of the counters of the visible GPUs; None if one has none: without NVML, MIG, before Volta."""
    import pynvml
    import torch

    try:
        pynvml.nvmlInit()
        properties = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
        devices = [pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{one.uuid}") for one in properties]
        return sum(map(pynvml.nvmlDeviceGetTotalEnergyConsumption, devices)) / 3.6e6 if devices else None
    except pynvml.NVMLError:
        return None


def of_attempts(attempts: dict) -> float | None:
    """Return the watt-hours of all attempts, each divided by the number of runs that shared its GPUs.

    None if those of one are unknown: it ran on a CPU, or was killed.
    """
    found = attempts.get("watt_hours", [])
    if not found or None in found:
        return None
    return sum(one / runs for one, runs in zip(found, attempts["runs_per_gpu"], strict=True))
