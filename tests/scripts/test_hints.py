"""Control images against their definitions, on synthetic and on real images with annotations; invalid input."""

import csv

import numpy
import pytest
from PIL import Image
from scipy import ndimage

from hra_workflow.core.errors import JobError
from hra_workflow.evaluators import edges
from hra_workflow.tasks.control import hints
from support import SHARED

BLANK = Image.new("RGB", (512, 512))
ADE, COCO = (SHARED / "data" / name for name in ("ade20k_sample", "coco_stuff_sample"))
needs_data = pytest.mark.skipif(not ADE.is_dir(), reason="no ../shared/data on this machine")


def halves(left: str, right: str, size=(64, 48)) -> Image.Image:
    image = Image.new("RGB", size, left)
    image.paste(right, (size[0] // 2, 0, *size))
    return image


def scattered(count=68, size=512) -> numpy.ndarray:
    """Points on a grid, moved a little: their dots do not touch."""
    side = int(numpy.ceil(count**0.5))
    grid = numpy.stack(numpy.meshgrid(numpy.arange(side), numpy.arange(side)), -1).reshape(-1, 2)[:count]
    return (grid + 0.5) * size / side + numpy.random.default_rng(0).uniform(-8, 8, (count, 2))


def test_canny_draws_the_line_between_two_halves():
    found = numpy.asarray(hints.draw("canny", halves("black", "white")))
    assert found.shape == (48, 64, 3) and set(numpy.unique(found)) == {0, 255}
    rows, columns = numpy.nonzero(found[..., 0])
    assert len(set(columns)) == 1 and abs(columns[0] - 32) <= 1 and len(rows) >= 44


def test_canny_sees_colours_of_equal_brightness_and_nothing_in_a_plain_picture():
    red, green = (200, 0, 0), (0, 102, 0)  # both 60 of 255 in grey
    image = Image.new("RGB", (64, 64), red)
    image.paste(green, (32, 0, 64, 64))
    assert numpy.ptp(numpy.asarray(image.convert("L"))) <= 1
    assert edges.edges(image).any() and not hints.edges(BLANK).any()


def test_canny_of_grey_is_opencv_s():
    import cv2

    grey = (numpy.random.default_rng(0).random((40, 50)) * 255).astype(numpy.uint8)
    grey = cv2.GaussianBlur(grey, (5, 5), 0) * 2
    expected = cv2.Canny(grey, 100, 200) > 0
    assert 0 < expected.mean() < 1
    assert (edges.edges(Image.fromarray(grey)) == expected).all()


def test_landmarks_are_dots_at_the_points():
    points = scattered()
    drawn = numpy.asarray(hints.draw("landmarks", BLANK, points))
    parts, count = ndimage.label(drawn[..., 0])
    assert count == 68 and set(numpy.unique(drawn)) == {0, 255}
    middles = numpy.array(ndimage.center_of_mass(drawn[..., 0], parts, range(1, 69)))[:, ::-1]
    nearest = numpy.linalg.norm(points[:, None] - middles, axis=-1).min(axis=1)
    assert nearest.max() < 1.5  # whole pixels, towards 0 as in the official code
    widths = {part[0].stop - part[0].start for part in ndimage.find_objects(parts)}
    assert widths <= {8, 9}  # radius 2, line 4 at 512 pixels


def test_segmentation_can_be_read_back_from_its_colours():
    found = numpy.random.default_rng(0).integers(0, 150, (512, 512)).astype(numpy.uint8)
    found[:10] = hints.IGNORED
    drawn = numpy.asarray(hints.draw("segmentation", BLANK, found))
    assert (drawn[:10] == 0).all()
    assert (drawn[10:] == hints.palette()[found[10:]]).all()
    assert (hints.palette().sum(axis=1) > 0).all()  # black is no class


def test_the_palette_is_mmsegmentation_s():
    from hra_workflow.evaluators import segmentation

    segmentation.import_mmseg()
    from mmseg.utils import ade_palette

    assert hints.palette().tolist() == ade_palette()


def test_own_hints(tmp_path, monkeypatch):
    (tmp_path / "my_hints.py").write_text("def grey(picture, annotation):\n    return picture.convert('L')\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert hints.draw("my_hints:grey", halves("red", "blue")).getpixel((0, 0)) == (76, 76, 76)
    with pytest.raises(JobError, match=r"hint: expected 'gray' in module my_hints, found grey"):
        hints.draw("my_hints:gray", BLANK)


RAMP = numpy.linspace(0, 1, 64, dtype=numpy.float32).reshape(8, 8)
LEVELS = numpy.rint(RAMP * 255).astype(numpy.uint8)


@pytest.mark.parametrize(
    "made",
    [
        LEVELS,
        numpy.stack([LEVELS] * 3, axis=-1),
        RAMP,
        numpy.stack([RAMP] * 3, axis=-1).astype(numpy.float64),
        numpy.rint(RAMP * 65535).astype(numpy.uint16),
        Image.fromarray(LEVELS),
        Image.fromarray(RAMP),
        Image.fromarray(numpy.rint(RAMP * 65535).astype(numpy.uint16)),
    ],
    ids=["uint8", "uint8-rgb", "float32", "float64-rgb", "uint16", "L", "F", "I;16"],
)
def test_a_hint_function_may_return_images_and_arrays_of_every_range(monkeypatch, made):
    """Check that all of them give the same ramp from black to white."""
    monkeypatch.setitem(hints.HINTS, "mine", lambda picture, annotation: made)
    found = numpy.asarray(hints.draw("mine", Image.new("RGB", (8, 8))))
    assert found.shape == (8, 8, 3) and (found == LEVELS[..., None]).all()


def test_a_mask_of_booleans_is_black_and_white(monkeypatch):
    monkeypatch.setitem(hints.HINTS, "mine", lambda picture, annotation: RAMP > 0.5)
    assert (numpy.asarray(hints.draw("mine", Image.new("RGB", (8, 8))))[..., 0] == 255 * (RAMP > 0.5)).all()


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (None, r"hint mine: expected an image, or a NumPy array .* found NoneType"),
        ([[0, 1]], r"hint mine: expected .* found list"),
        (RAMP * 4, r"hint mine, an array of float32 .*expected .* 0 to 1 in floats, found 0.0 to 4.0"),
        (numpy.full((8, 8), numpy.nan), r"found nan to nan"),
        (LEVELS.astype(int), r"an array of int64 .*expected 0 to 255 in 8 bits"),
        (LEVELS[None], r"shape \(1, 8, 8\): expected numbers, \(height, width\) or \(height, width, 3\)"),
        (LEVELS.astype(str), r"expected numbers"),
        (LEVELS[:4], r"hint mine: expected 8 × 8 pixels, .* found 8 × 4"),
        (Image.fromarray(RAMP * 4), r"hint mine, an image of mode F: .*found 0.0 to 4.0"),
        (Image.fromarray(LEVELS.astype(numpy.int32)), r"hint mine, an image of mode I: .*found 0 to 255"),
    ],
)
def test_what_a_hint_function_may_not_return(monkeypatch, made, message):
    monkeypatch.setitem(hints.HINTS, "mine", lambda picture, annotation: made)
    with pytest.raises(JobError, match=message):
        hints.draw("mine", Image.new("RGB", (8, 8)))


def test_a_hint_function_that_fails_is_named(monkeypatch):
    monkeypatch.setitem(hints.HINTS, "mine", lambda picture: picture)
    with pytest.raises(JobError, match=r"hint mine failed: TypeError: .*2 were given"):
        hints.draw("mine", BLANK)


def write_labels(path, values, mode=None):
    Image.fromarray(numpy.asarray(values), mode).save(path)
    return path


def test_label_maps(tmp_path):
    values = numpy.array([[0, 1, 2], [149, 150, 255]], numpy.uint8)
    expected = [[255, 0, 1], [148, 149, 255]]
    assert hints.classes(write_labels(tmp_path / "grey.png", values)).tolist() == expected
    indexed = Image.fromarray(values).convert("P")
    indexed.putdata(values.ravel())
    indexed.save(tmp_path / "indexed.png")
    assert hints.classes(tmp_path / "indexed.png").tolist() == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (numpy.full((4, 4), 151, numpy.uint8), r"expected ADE20K's labels 0 \(none\) to 150 .* found 151"),
        (numpy.full((4, 4), 300, numpy.uint16), r"expected ADE20K's labels .* found 300"),
        (numpy.zeros((4, 4, 3), numpy.uint8), r"expected a label map .* found mode RGB"),
    ],
)
def test_strange_label_maps(tmp_path, values, message):
    with pytest.raises(JobError, match=message):
        hints.classes(write_labels(tmp_path / "labels.png", values))


def test_a_label_map_that_is_cut_off(tmp_path):
    path = write_labels(tmp_path / "labels.png", numpy.random.default_rng(0).integers(0, 151, (64, 64), numpy.uint8))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(JobError, match="cannot be decoded as an image"):
        hints.classes(path)


@pytest.mark.parametrize(
    ("name", "annotation", "message"),
    [
        ("segmentation", numpy.zeros((512, 500), numpy.uint8), r"expected 512 × 512 pixels, .* found 500 × 512"),
        ("landmarks", scattered(size=2048), r"inside the image \(512 × 512 pixels\), found most outside.*Scale them"),
    ],
)
def test_annotations_that_do_not_fit(name, annotation, message):
    with pytest.raises(JobError, match=message):
        hints.draw(name, BLANK, annotation)


@pytest.mark.parametrize(("lines", "message"), [(0, "found 0 lines"), (136, "found 136 lines"), (5, "found 5 lines")])
def test_points_of_no_face_and_of_several(tmp_path, lines, message):
    path = tmp_path / "1.txt"
    path.write_text("1.5 2.5\n" * lines)
    with pytest.raises(JobError, match=message):
        hints.points(path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda points: points / 512, r"1.txt: expected landmarks in pixels, found x and y between 0.04 and 0.956"),
        (lambda points: points / 512 * 1.1 - 0.05, r"as if normalised by the image size. Multiply x by its width"),
        (lambda points: numpy.where(numpy.arange(68)[:, None] == 3, numpy.nan, points), r"\[nan, nan\] for point 4"),
        (lambda points: numpy.where(points > 480, numpy.inf, points), r"inf.* for point"),
    ],
)
def test_points_that_are_not_in_pixels(tmp_path, spoil, message):
    numpy.savetxt(tmp_path / "1.txt", spoil(scattered()))
    with pytest.raises(JobError, match=message):
        hints.points(tmp_path / "1.txt")


def test_points_of_a_file(tmp_path):
    numpy.savetxt(tmp_path / "1.txt", scattered())
    assert numpy.allclose(hints.points(tmp_path / "1.txt"), scattered())
    (tmp_path / "2.txt").write_text("left eye\n")
    with pytest.raises(JobError, match="expected lines of two numbers"):
        hints.points(tmp_path / "2.txt")


@pytest.mark.real
@needs_data
def test_ade20k():
    """Labels of the real set: class names by objectInfo150.txt, 255 where a map was letterboxed."""
    with open(ADE / "objectInfo150.txt") as stream, open(hints.COLOURS) as ours:
        names = [row["Name"].strip().split(", ") for row in csv.DictReader(stream, delimiter="\t")]
        for row, name in zip(csv.DictReader(ours), names, strict=True):
            assert row["class"] in name
    for path in sorted((ADE / "annotations").glob("*.png")):
        found = hints.classes(path)
        picture = Image.open(ADE / "images" / path.with_suffix(".jpg").name)
        hint = numpy.asarray(hints.draw("segmentation", picture, found))
        assert (hint.any(axis=-1) == (found != hints.IGNORED)).all() and (found != hints.IGNORED).mean() > 0.8
        letterboxed = hints.classes(ADE / "annotations_512_letterboxed" / path.name)
        assert set(numpy.unique(letterboxed)) <= set(numpy.unique(found)) | {hints.IGNORED}


@pytest.mark.real
@needs_data
def test_canny_of_photographs():
    pictures = [Image.open(path) for path in sorted((COCO / "val_img").glob("*.jpg"))]
    shares = [edges.edges(picture).mean() for picture in pictures]
    assert len(shares) == 8 and min(shares) > 0.005 and max(shares) < 0.4
