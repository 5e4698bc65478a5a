"""Tones, and a network that hears their pitch."""

from pathlib import Path

PITCHES, SAMPLES = 4, 64


def record(folder: Path, rows: dict[str, int], noise: float, seed: int = 0) -> None:
    """Write {split}.npz: `waves` (rows, SAMPLES), sines of random phase with noise, and `pitches` (rows,)."""
    import numpy as np

    for number, (split, count) in enumerate(rows.items()):
        random = np.random.default_rng([seed, number])
        pitches = random.integers(PITCHES, size=count)
        angles = 2 * np.pi * (pitches[:, None] + 1) * np.arange(SAMPLES) / SAMPLES
        waves = np.sin(angles + random.uniform(0, 2 * np.pi, (count, 1))) + noise * random.normal(size=(count, SAMPLES))
        np.savez(folder / f"{split}.npz", waves=waves.astype("float32"), pitches=pitches)


def rows(folder: Path, split: str):
    """Return the tensors (rows, SAMPLES) and (rows,) of a split."""
    import numpy as np
    import torch

    with np.load(folder / f"{split}.npz") as found:
        return torch.from_numpy(found["waves"]), torch.from_numpy(found["pitches"])


def build():
    from torch import nn

    return nn.Sequential(nn.Linear(SAMPLES, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, PITCHES))


def initialise(folder: Path, seed: int = 0) -> None:
    """Write the base network, whose weights are random."""
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    save_file(build().state_dict(), folder / "model.safetensors")


def load(folder: Path):
    """Return the base network."""
    from safetensors.torch import load_file

    network = build()
    network.load_state_dict(load_file(folder / "model.safetensors"))
    return network
