"""Control signals: control images against their definitions, invalid input."""

import numpy
import pytest
from PIL import Image
from scipy import ndimage

from hra_workflow.core.errors import JobError
from hra_workflow.evaluators import edges, segmentation
from hra_workflow.tasks.control import hints

BLANK = Image.new("RGB", (512, 512))


def scattered(size=512) -> numpy.ndarray:
    """Return 68 points on a grid, moved a little: their dots do not touch."""
    grid = numpy.stack(numpy.meshgrid(numpy.arange(9), numpy.arange(9)), -1).reshape(-1, 2)[:68]
    return (grid + 0.5) * size / 9 + numpy.random.default_rng(0).uniform(-8, 8, (68, 2))


def test_canny_sees_colours_of_equal_brightness_and_nothing_in_a_plain_picture():
    red, green = (200, 0, 0), (0, 102, 0)  # both 60 of 255 in grey
    image = Image.new("RGB", (64, 64), red)
    image.paste(green, (32, 0, 64, 64))
    assert numpy.ptp(numpy.asarray(image.convert("L"))) <= 1
    assert edges.edges(image).any() and not hints.edges(BLANK).any()


def test_landmarks_are_dots_at_the_points():
    points = scattered()
    drawn = numpy.asarray(hints.landmarks(BLANK, points))
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
    drawn = numpy.asarray(hints.segmentation(BLANK, found))
    assert (drawn[:10] == 0).all()
    assert (drawn[10:] == hints.palette()[found[10:]]).all()
    segmentation.import_mmseg()
    from mmseg.utils import ade_palette

    assert hints.palette().tolist() == ade_palette()


def test_label_maps(tmp_path):
    values, path = numpy.array([[0, 1, 2], [149, 150, 255]], numpy.uint8), tmp_path / "labels.png"
    indexed = Image.fromarray(values).convert("P")
    indexed.putdata(values.ravel())
    for image in (Image.fromarray(values), indexed):
        image.save(path)
        assert hints.classes(path).tolist() == [[255, 0, 1], [148, 149, 255]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (numpy.full((4, 4), 151, numpy.uint8), r"expected ADE20K's labels 0 \(none\) to 150 .* found 151"),
        (numpy.zeros((4, 4, 3), numpy.uint8), r"expected a label map .* found mode RGB"),
        ("left eye\n", "expected lines of two numbers"),
        ("1.5 2.5\n" * 136, "found 136 lines"),
        ("0.5 0.25\n" * 68, r"in pixels, found x and y .* as if normalised by the image size. Multiply"),
        ("nan 9\n" * 68, r"\[nan, 9.0\] for point 1"),
    ],
)
def test_annotations_that_do_not_fit(tmp_path, content, message):
    path = tmp_path / "annotation.png"
    path.write_text(content) if isinstance(content, str) else Image.fromarray(content).save(path)
    with pytest.raises(JobError, match=message):
        (hints.points if isinstance(content, str) else hints.classes)(path)


def test_points_of_another_image_size():
    with pytest.raises(JobError, match=r"inside the image \(512 × 512 pixels\), found most outside.*Scale them"):
        hints.landmarks(BLANK, scattered(size=2048))
