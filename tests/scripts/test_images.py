"""Photographs as people have them, and tar files of generated ones."""

import struct
import tarfile
import zlib

import numpy
import pytest
from PIL import Image

import gather_images
from hra_workflow.core import files, sharding
from hra_workflow.core.errors import JobError
from hra_workflow.data import images
from hra_workflow.data.images import Picture
from hra_workflow.tasks.control import hints
from hra_workflow.tasks.control.items import key
from image_files import picture


def test_every_kind_of_image_becomes_rgb_the_right_way_up(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    picture().save(tmp_path / "turned.jpg", exif=exif, quality=95)
    turned = images.load(tmp_path / "turned.jpg")
    assert turned.size == (48, 64) and turned.getpixel((24, 4))[0] > 200
    for mode, suffix in (("CMYK", "jpg"), ("P", "png")):
        picture().convert(mode).save(tmp_path / f"a.{suffix}")
        red = images.load(tmp_path / f"a.{suffix}").getpixel((8, 24))
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
    Image.fromarray(numpy.full((8, 8), 3000, numpy.int32)).save(tmp_path / "a.tif")
    with pytest.raises(JobError, match=r"a.tif, an image of mode I: expected .*found 3000 to 3000. Scale it"):
        images.load(tmp_path / "a.tif")


def test_of_several_images_in_a_file_none_is_chosen_silently(tmp_path):
    others = [Image.new("RGB", (64, 48), colour) for colour in ("red", "blue")]
    path, mpo = tmp_path / "a.png", tmp_path / "a.jpg"
    for place, kind in ((path, "png"), (mpo, "mpo")):
        picture().save(place, kind, save_all=True, append_images=others)
    assert images.load(mpo).size == (64, 48)  # of a camera: the others are previews
    with pytest.raises(JobError, match=r"/a\.png: expected one image, found 3, .*\. Save one of them as"):
        images.load(path)


def test_other_formats_and_bombs_are_refused_by_name(tmp_path):
    picture().save(tmp_path / "a.jpg", "GIF")
    (tmp_path / "a.png").write_bytes(bomb())
    for read in (images.load, hints.classes, hints.classes_of_colours):
        with pytest.raises(JobError, match=r"a\.jpg: cannot be decoded as an image \(cannot identify .*; expected JPE"):
            read(tmp_path / "a.jpg")
        with pytest.raises(JobError, match=r"a\.png: cannot be decoded as an image \(Image size \(4000000000 pixels\)"):
            read(tmp_path / "a.png")


def bomb() -> bytes:
    """Build a PNG that declares 40,000 × 100,000 pixels."""
    header = b"IHDR" + struct.pack(">II5B", 40_000, 100_000, 8, 2, 0, 0, 0)
    chunks = [(len(one) - 4).to_bytes(4) + one + zlib.crc32(one).to_bytes(4) for one in (header, b"IDAT")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


HEAD = {"result": "", "weights": {}, "settings": {}}


def made(*keys: str) -> list[Picture]:
    return [Picture(key, images.to_png(picture((8, 8))), {"prompt": f"a “{key}”", "blocked": False}) for key in keys]


def test_a_tar_file_holds_what_went_in_and_depends_on_nothing_else(tmp_path):
    for name in ("one.tar", "two.tar"):
        images.pack(tmp_path / name, made("a", "b"))
    assert list(images.unpack(tmp_path / "one.tar")) == made("a", "b")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    with tarfile.open(tmp_path / "one.tar") as archive:
        assert archive.getnames() == ["a.png", "a.json", "b.png", "b.json"]


def test_a_single_shard_is_linked_and_has_the_bytes_of_several_merged(tmp_path, monkeypatch):
    monkeypatch.setattr(gather_images.finished_run, "read", lambda job: {})
    png = images.to_png(picture((8, 8)))
    pictures = [Picture(key((0, row)), png, {"blocked": False, "row": row}) for row in range(4)]
    files.write_json(tmp_path / "dataset.manifest.json", {"rows": {"validation": 4}})
    merged = []
    for n_shards in (1, 2, 6):  # with six, two have no images
        shards = [tmp_path / f"shard{index}-of-{n_shards}.tar" for index in range(n_shards)]
        for index, shard in enumerate(shards):
            images.pack(shard, sharding.part(pictures, index, n_shards), head=HEAD)
        merged.append(tmp_path / f"images{n_shards}.tar")
        given = {"dataset": str(tmp_path / "dataset.manifest.json"), "shards": [str(shard) for shard in shards]}
        output = {"images": str(merged[-1])}
        gather_images.main({"input": given, "output": output, "wildcards": {}, "params": {}})
    assert merged[0].read_bytes() == merged[1].read_bytes() == merged[2].read_bytes()
    assert merged[0].samefile(tmp_path / "shard0-of-1.tar")


def test_a_damaged_tar_file_is_said(tmp_path):
    images.pack(tmp_path / "a.tar", made("a", "b"))
    whole = (tmp_path / "a.tar").read_bytes()
    link = tarfile.TarInfo("a.png")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    for content in (link.tobuf(), *(whole[:end] for end in range(0, len(whole.rstrip(b"\0")), tarfile.BLOCKSIZE))):
        (tmp_path / "a.tar").write_bytes(content)
        with pytest.raises(JobError, match=r"a\.tar is truncated or corrupted .*\. Delete it and run again"):
            list(images.unpack(tmp_path / "a.tar"))
    deep = whole.replace(made("a")[0].png, b"x" * len(made("a")[0].png))  # the image itself is looked at when used
    with pytest.raises(JobError, match=r"a\.png: cannot be decoded as an image .* Delete \S+/a\.tar and run again"):
        (tmp_path / "a.tar").write_bytes(deep)
        _ = next(images.unpack(tmp_path / "a.tar")).image


@pytest.mark.parametrize(
    ("keys", "message"),
    [("ac", "expected image b, found c"), ("ab", "1 of 3 images are missing, first c"), ("abcc", "found c")],
)
def test_nothing_is_missing_double_or_out_of_order(keys, message):
    assert [one.key for one in images.check_complete(made(*"abc"), list("abc"), "x.tar")] == list("abc")
    with pytest.raises(JobError, match=message):
        list(images.check_complete(made(*keys), list("abc"), "x.tar"))
