"""Photographs as people have them, and tar files of generated ones."""

import tarfile

import numpy
import pytest
from PIL import Image

import download
from common import images
from common.images import Picture
from common.job import JobError


def picture(size=(64, 48)) -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", size, "blue")
    image.paste("red", (0, 0, size[0] // 2, size[1]))
    return image


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


def subject(tmp_path, resolution=32) -> dict:
    return {
        "rule": "download_dataset",
        "output": {"manifest": str(tmp_path / "resources/mug.manifest.json")},
        "params": {
            "name": "subject/mug",
            "source": {"kind": "local", "path": "mug"},
            "dataset": {"resolution": resolution},
            "local_root": str(tmp_path),
        },
    }


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
        (lambda folder: None, r"mug: nothing to use among no files"),
        (lambda folder: (folder / "notes.txt").write_text("x"), r"nothing to use among notes.txt"),
        (lambda folder: (folder / "a.jpg").write_text("not a picture"), r"a.jpg: not a whole image \(cannot identify"),
        (lambda folder: cut(folder / "a.jpg"), r"a.jpg: not a whole image \(.*truncated.*\). Replace or remove it"),
        (lambda folder: picture((64, 31)).save(folder / "a.png"), r"a.png: 64 × 31 pixels, but training crops 32 × 32"),
    ],
)
def test_what_cannot_be_a_subject_is_said_at_the_download(tmp_path, spoil, message):
    (tmp_path / "mug").mkdir()
    spoil(tmp_path / "mug")
    with pytest.raises(JobError, match=message):
        download.main(subject(tmp_path))
    assert not (tmp_path / "resources/mug.manifest.json").exists()


def cut(path) -> None:
    Image.effect_noise((64, 64), 80).save(path)
    path.write_bytes(path.read_bytes()[:900])


def made(*keys: str) -> list[Picture]:
    return [Picture(key, images.to_png(picture((8, 8))), {"prompt": f"a “{key}”", "blocked": False}) for key in keys]


def test_a_tar_file_holds_what_went_in_and_depends_on_nothing_else(tmp_path):
    for name in ("one.tar", "two.tar"):
        images.pack(tmp_path / name, made("a", "b"))
    assert list(images.unpack(tmp_path / "one.tar")) == made("a", "b")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    with tarfile.open(tmp_path / "one.tar") as archive:
        assert archive.getnames() == ["a.png", "a.json", "b.png", "b.json"]


def test_a_damaged_tar_file_is_said(tmp_path):
    images.pack(tmp_path / "a.tar", made("a", "b"))
    whole = (tmp_path / "a.tar").read_bytes()
    for content in (whole[:700], whole[:1800], b"", b"junk" * 400):
        (tmp_path / "a.tar").write_bytes(content)
        with pytest.raises(JobError, match=r"a\.tar is cut off or damaged"):
            list(images.unpack(tmp_path / "a.tar"))


@pytest.mark.parametrize(
    ("keys", "message"),
    [("ac", "expected image b, found c"), ("ab", "1 of 3 images are missing, first c"), ("abcc", "found c")],
)
def test_nothing_is_missing_double_or_out_of_order(keys, message):
    assert [one.key for one in images.complete(made(*"abc"), list("abc"), "x.tar")] == list("abc")
    with pytest.raises(JobError, match=message):
        list(images.complete(made(*keys), list("abc"), "x.tar"))
