"""Photographs as people have them, and tar files of generated ones."""

import struct
import zipfile
import zlib

import numpy
import pytest
from PIL import Image

import download
from hra_workflow.core.errors import JobError
from hra_workflow.data import image_card, images
from hra_workflow.tasks import user_data
from hra_workflow.tasks.control import hints
from image_files import cut, picture, subject
from test_data_cards import Scenes


def test_every_kind_of_image_becomes_rgb_the_right_way_up(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    picture().save(tmp_path / "turned.jpg", exif=exif, quality=95)
    turned = images.load(tmp_path / "turned.jpg")
    assert turned.size == (48, 64) and turned.getpixel((24, 4))[0] > 200
    for mode in ("L", "CMYK", "P", "1"):
        path = tmp_path / f"{mode}.{'jpg' if mode in ('L', 'CMYK') else 'png'}"
        picture().convert(mode).save(path)
        assert images.load(path).mode == "RGB"
    red = numpy.asarray(images.load(tmp_path / "CMYK.jpg"))[24, 8]
    assert red[0] > 200 and red[2] < 60
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert images.load(tmp_path / "clear.png").getpixel((0, 0)) == (255, 255, 255)


def test_greyscale_is_scaled_by_its_range(tmp_path):
    grey = numpy.arange(256, dtype=numpy.uint8).reshape(16, 16)
    deep = grey.astype(numpy.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "16.png")
    Image.fromarray(deep.astype(">u2")).save(tmp_path / "16.tif")
    Image.fromarray(grey.astype(numpy.float32) / 255).save(tmp_path / "float.tif")
    for name, mode in (("16.png", "I;16"), ("16.tif", "I;16B"), ("float.tif", "F")):
        assert Image.open(tmp_path / name).mode == mode
        assert (numpy.asarray(images.load(tmp_path / name)) == grey[..., None]).all()


@pytest.mark.parametrize(("name", "kind"), [("a.webp", "webp"), ("a.png", "png"), ("a.tif", "tiff"), ("a.jpg", "mpo")])
def test_of_several_images_in_a_file_none_is_chosen_silently(tmp_path, name, kind):
    others = [Image.new("RGB", (64, 48), colour) for colour in ("red", "blue")]
    picture().save(tmp_path / name, kind, save_all=True, append_images=others)
    paths = {name: tmp_path / name}
    if kind == "mpo":  # of a camera: the others are previews
        assert images.load(tmp_path / name).size == (64, 48)
        return
    for read in (lambda: images.load(tmp_path / name), lambda: image_card.make_card(paths, 16)):
        with pytest.raises(JobError, match=rf"/{name}: expected one image, found 3, .*\. Save one of them as"):
            read()
    picture().save(tmp_path / name, kind)
    assert images.load(tmp_path / name).size == (64, 48)


def test_an_animation_among_control_images_is_found_by_the_plan(here, tmp_path):
    scenes = Scenes(tmp_path / "rooms")
    scenes.save([picture()], [picture()])
    picture().save(tmp_path / "two.png", save_all=True, append_images=[Image.new("RGB", (64, 48))])
    with zipfile.ZipFile(scenes.folder / "rooms.zip", "w") as archive:
        for split in ("train", "validation"):
            archive.write(tmp_path / "two.png", f"{split}/0.png")
    with pytest.raises(JobError, match=r"rooms\.zip.*train/0\.png: expected one image, found 2, .* or remove it\."):
        user_data.check(scenes.task, "rooms")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (numpy.full((8, 8), 3000, numpy.int32), r"a.tif, an image of mode I: expected .*found 3000 to 3000. Scale it"),
        (numpy.full((8, 8), 80, numpy.float32), r"a.tif, an image of mode F: expected .*found 80.0 to 80.0"),
    ],
)
def test_an_image_without_a_range_is_refused(tmp_path, values, message):
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(JobError, match=message):
        images.load(tmp_path / "a.tif")


def test_a_folder_of_images_is_all_that_a_subject_needs(tmp_path):
    (tmp_path / "mug").mkdir()
    for name in ("b.JPG", "a.png"):
        picture().save(tmp_path / "mug" / name)
    (tmp_path / "mug/notes.txt").write_text("bought in Rome")
    download.main(subject(tmp_path))
    assert [path.name for path in images.listed(tmp_path / "resources/mug")] == ["a.png", "b.JPG"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: None, r"mug: expected usable files, found none\. Add"),
        (lambda folder: (folder / "notes.txt").write_text("x"), r"usable files, found notes\.txt"),
        (
            lambda folder: (folder / "a.jpg").write_text("not a picture"),
            r"a.jpg: cannot be decoded as an image \(cannot identify",
        ),
        (
            lambda folder: cut(folder / "a.jpg"),
            r"a.jpg: cannot be decoded as an image \(.*truncated.*\). Replace or remove it",
        ),
        (
            lambda folder: picture((64, 31)).save(folder / "a.png"),
            r"a.png: expected at least 32 × 32 pixels, found 64 × 31",
        ),
    ],
)
def test_what_cannot_be_a_subject_is_said_at_the_download(tmp_path, spoil, message):
    (tmp_path / "mug").mkdir()
    spoil(tmp_path / "mug")
    with pytest.raises(JobError, match=message):
        download.main(subject(tmp_path))
    assert not (tmp_path / "resources/mug.manifest.json").exists()


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        (
            "a.jpg",
            lambda path: picture().save(path, "GIF"),
            r"a.jpg: cannot be decoded as an image \(cannot identify .*; expected JPE",
        ),
        ("a.png", lambda path: picture().save(path, "EPS"), r"a.png: cannot be decoded as an image \(cannot identify"),
        (
            "a.png",
            lambda path: path.write_bytes(bomb()),
            r"a.png: cannot be decoded as an image \(Image size \(4000000000 pixels\)",
        ),
    ],
)
def test_other_formats_and_bombs_are_refused_by_name(tmp_path, name, write, message):
    write(tmp_path / name)
    for read in (images.load, hints.classes, hints.classes_of_colours):
        with pytest.raises(JobError, match=message):
            read(tmp_path / name)


def bomb() -> bytes:
    """Build a PNG that declares 40,000 × 100,000 pixels."""
    header = b"IHDR" + struct.pack(">II5B", 40_000, 100_000, 8, 2, 0, 0, 0)
    chunks = [(len(one) - 4).to_bytes(4) + one + zlib.crc32(one).to_bytes(4) for one in (header, b"IDAT")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
