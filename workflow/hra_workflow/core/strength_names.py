"""Names of the benchmarks of rewound weights: `gsm8k@0.5` is gsm8k with the weights at strength 0.5."""

MARK = "@"


def name(benchmark: str, strength: float) -> str:
    """Return the name of a benchmark at a strength between 0 (the base model) and 1 (the trained weights)."""
    return f"{benchmark}{MARK}{strength:g}"


def split(benchmark: str) -> tuple[str, float | None]:
    """Return the name of a benchmark without strength, and the strength of the weights; None: as trained."""
    own, _, strength = benchmark.partition(MARK)
    return own, float(strength) if strength else None
