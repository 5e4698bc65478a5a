"""Synthetic images with captions: an object, its colour, texture and position, and the background colour.

Some appearances have a name, like people and brands; only a model that has seen the name often knows the appearance. So
a model learns that meaningless letters before a noun may determine the appearance, which DreamBooth's identifiers
require.

The scene is known exactly, and with it the caption and the object's mask. Shapes are signed distances in pixels
(negative inside), so edges are smooth at any size. x points right, y down.
"""

from dataclasses import dataclass, replace
from random import Random
from string import ascii_lowercase

import numpy

SIZE = 64  # pixels
REACH = 16  # pixels from the centre to a position's anchor
SHAPES = ("ball", "box", "star", "heart", "ring", "cross")
COLOURS = {
    "red": (214, 40, 40),
    "yellow": (240, 200, 40),
    "green": (50, 160, 70),
    "blue": (45, 90, 210),
    "purple": (140, 60, 170),
    "white": (238, 238, 238),
}
TEXTURES = ("plain", "striped", "dotted", "checkered")
PLACES = {
    "on the left": (-1, 0),
    "on the right": (1, 0),
    "at the top": (0, -1),
    "at the bottom": (0, 1),
    "in the middle": (0, 0),
}
WORDS = tuple(
    dict.fromkeys(" ".join(["a photo of and with eyes background ,", *SHAPES, *COLOURS, *TEXTURES, *PLACES]).split())
)
SHADE = 0.5  # brightness of a texture's dark part
NAMED = 0.75  # probability that a caption mentions an optional attribute
NAMES = tuple("".join(Random(f"name of look {index}").choices(ascii_lowercase, k=3)) for index in range(40))
BEARS_NAME = 0.2  # probability of an appearance with a name


@dataclass(frozen=True)
class Scene:
    """The contents of an image; lengths in pixels, colours as RGB of 0 to 255."""

    shape: str
    colour: tuple[int, int, int]
    texture: str
    place: str
    background: tuple[int, int, int]
    x: float = SIZE / 2
    y: float = SIZE / 2
    radius: float = 13.0
    light: tuple[float, float] = (0.0, 0.0)  # direction and strength of the light
    phase: tuple[float, float] = (0.0, 0.0)  # of the texture
    eyes: bool = False
    lower: tuple[int, int, int] | None = None  # colour of the lower half, if different
    band: tuple[int, int, int] | None = None  # colour of a band across the middle
    name: str | None = None  # of the appearance: colours, texture and eyes


def scene(rng: Random) -> Scene:
    """Draw a random scene that captions can describe."""
    name = rng.choice(NAMES) if rng.random() < BEARS_NAME else None
    features = look(Random(f"look {name}") if name else rng)
    return arranged(
        rng,
        Scene(
            shape=rng.choice(SHAPES),
            place=rng.choice(list(PLACES)),
            background=rng.choice([value for value in COLOURS.values() if value not in features.values()]),
            name=name,
            **features,
        ),
    )


def look(rng: Random) -> dict:
    colour, lower = rng.sample(list(COLOURS.values()), 2)
    return {
        "colour": colour,
        "lower": lower if rng.random() < 0.3 else None,
        "texture": rng.choice(TEXTURES),
        "eyes": rng.random() < 0.4,
    }


def arranged(rng: Random, found: Scene) -> Scene:
    """Resample the attributes that captions do not mention: exact position, size, light, phase of the texture."""
    across, down = PLACES[found.place]
    return replace(
        found,
        x=SIZE / 2 + REACH * across + rng.uniform(-3, 3),
        y=SIZE / 2 + REACH * down + rng.uniform(-3, 3),
        radius=rng.uniform(11.5, 15.5),
        light=(rng.uniform(-0.09, 0.09), rng.uniform(-0.09, 0.09)),
        phase=(rng.uniform(0, 8), rng.uniform(0, 8)),
    )


def picture(found: Scene) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Render the image (64, 64, 3) and the mask of its object (64, 64), both uint8 of 0 to 255."""
    grid = numpy.arange(SIZE) + 0.5
    x, y = numpy.meshgrid(grid, grid)
    light = 1 + (found.light[0] * (x - SIZE / 2) + found.light[1] * (y - SIZE / 2)) / (SIZE / 2)
    u, v = x - found.x, y - found.y
    inside = coverage(DISTANCES[found.shape](u, v, found.radius))
    dark = coverage(texture(found.texture, u + found.phase[0], v + found.phase[1]))
    body = numpy.broadcast_to(numpy.array(found.colour, float), (SIZE, SIZE, 3))
    if found.lower:
        body = blend(body, found.lower, coverage(-v))
    body = blend(body, body * SHADE, dark)
    if found.band:
        body = blend(body, found.band, coverage(abs(v) - 4.0))
    if found.eyes:
        for side in (-1, 1):
            away = numpy.hypot(u - side * found.radius * 0.36, v + found.radius * 0.3)
            body = blend(blend(body, (250, 250, 250), coverage(away - 3.4)), (15, 15, 20), coverage(away - 1.8))
    drawn = blend(numpy.broadcast_to(found.background, body.shape), body, inside) * light[..., None]
    return numpy.clip(drawn.round(), 0, 255).astype(numpy.uint8), (inside * 255).round().astype(numpy.uint8)


def caption(found: Scene, rng: Random | None = None) -> str:
    """Write a caption of the scene; with `rng`, randomly omit attributes."""

    def said(often: float = NAMED) -> bool:
        return rng is None or rng.random() < often

    names = {value: name for name, value in COLOURS.items()}
    words = ["a photo of"] * said() + ["a"] * said(0.85)
    if found.name:
        words.append(found.name)
    else:
        words += [" and ".join(names[part] for part in (found.colour, found.lower) if part)] * said()
        words += [found.texture] * (said() and (found.texture != "plain" or said(0.2)))
    words += [found.shape, *["with eyes"] * (found.eyes and said()), *[found.place] * (bool(found.place) and said())]
    text = " ".join(words)
    return text + f", on a {names[found.background]} background" * said()


def coverage(distance: numpy.ndarray) -> numpy.ndarray:
    """Compute the fraction of every pixel that is inside, from the distance of its centre to the edge."""
    return numpy.clip(0.5 - distance, 0, 1)


def blend(under, over, share: numpy.ndarray) -> numpy.ndarray:
    return under + (numpy.asarray(over, float) - under) * share[..., None]


def texture(name: str, u: numpy.ndarray, v: numpy.ndarray) -> numpy.ndarray:
    """Compute the distance to the dark part of a texture."""
    if name == "striped":
        return abs((u + v) / 2**0.5 % 7 - 3.5) - 1.6
    if name == "dotted":
        return numpy.hypot(u % 7 - 3.5, v % 7 - 3.5) - 2
    if name == "checkered":
        return checks(u, v, 5.0)
    return numpy.ones_like(u)


def checks(u: numpy.ndarray, v: numpy.ndarray, side: float) -> numpy.ndarray:
    """Compute the distance to every second square of a chessboard."""
    across, down = (abs(part % (2 * side) - side) - side / 2 for part in (u, v))
    return numpy.where(across * down > 0, -1, 1) * numpy.minimum(abs(across), abs(down))


def ball(u, v, r):
    return numpy.hypot(u, v) - r


def box(u, v, r):
    return numpy.maximum(abs(u), abs(v)) - 0.85 * r


def ring(u, v, r):
    return abs(numpy.hypot(u, v) - 0.72 * r) - 0.3 * r


def cross(u, v, r):
    thick = 0.36 * r
    return numpy.minimum(
        numpy.maximum(abs(u) - thick, abs(v) - r),
        numpy.maximum(abs(v) - thick, abs(u) - r),
    )


def star(u, v, r):
    """Compute the distance to a five-pointed star, folded by symmetry to a single edge."""
    outer, inner, fold = 1.15 * r, 0.55 * r, numpy.pi / 5
    angle = abs((numpy.arctan2(u, -v) + fold) % (2 * fold) - fold)
    away = numpy.hypot(u, v)
    along, off = away * numpy.cos(angle), away * numpy.sin(angle)
    edge = numpy.array([inner * numpy.cos(fold) - outer, inner * numpy.sin(fold)])
    normal = numpy.array([edge[1], -edge[0]]) / numpy.hypot(*edge)
    return (along - outer) * normal[0] + off * normal[1]


def heart(u, v, r):
    """Compute the distance to a heart: a square on its corner and two discs on its upper sides."""
    v = v - 0.1 * r
    half = 0.62 * r
    square = (abs(u) + abs(v)) / 2**0.5 - half
    shift = half / 2**0.5
    discs = numpy.minimum(numpy.hypot(u - shift, v + shift), numpy.hypot(u + shift, v + shift)) - half
    return numpy.minimum(square, discs)


DISTANCES = {"ball": ball, "box": box, "star": star, "heart": heart, "ring": ring, "cross": cross}
