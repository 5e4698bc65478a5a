"""Pictures whose caption says what is drawn: one object, its colour, texture and place, and the colour behind it."""

SHAPES = ("ball", "box", "star", "heart", "ring", "cross")
COLOURS = {
    "red": (214, 40, 40),
    "yellow": (240, 200, 40),
    "green": (50, 160, 70),
    "blue": (45, 90, 210),
    "purple": (140, 60, 170),
    "white": (238, 238, 238),
}
TEXTURES = ("plain", "striped", "dotted")
PLACES = {
    "on the left": (-1, 0),
    "on the right": (1, 0),
    "at the top": (0, -1),
    "at the bottom": (0, 1),
    "in the middle": (0, 0),
}
WORDS = tuple(
    dict.fromkeys(("a photo of background , . " + " ".join((*SHAPES, *COLOURS, *TEXTURES, *PLACES)) + " an and").split())
)
