"""Archives of images: bytes, order, damage."""

import errno
import io
import os
import tarfile
import threading
from itertools import islice
from pathlib import Path

import numpy
import pytest
from PIL import Image

import download
import evaluate_control
import evaluate_subject
import gather_images
import sheet as sheet_script
from hra_workflow.core import files, records, sharding
from hra_workflow.core.errors import JobError
from hra_workflow.data import images
from hra_workflow.data.images import Picture
from hra_workflow.tasks.control.items import key
from image_files import hints, picture, subject

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


@pytest.mark.parametrize("level", [-1, 1])
def test_the_compression_level_changes_no_pixel(level):
    whole = Image.effect_noise((40, 30), 90).convert("RGB")
    pngs = [images.to_png(whole, level) for _ in range(2)]
    assert pngs[0] == pngs[1] and Picture("a", pngs[0], {}).image.tobytes() == whole.tobytes()


def test_images_are_decoded_ahead_in_order():
    """Check that some are decoded before they are asked for, that not all are, and that an error comes in its place."""
    read, third = [], threading.Event()

    def decode(index: int) -> int:
        read.append(index)
        if index == 2:
            third.set()
        if index == 40:
            raise JobError("image 40")
        return index

    found = iter(images.OnDemand(decode, 50))
    assert next(found) == 0 and third.wait() and len(read) < 20
    assert list(islice(found, 39)) == list(range(1, 40))
    with pytest.raises(JobError, match="image 40"):
        next(found)
    assert list(images.OnDemand(str, 3)) == ["0", "1", "2"] and list(images.OnDemand(str, 0)) == []


def readers(folder, tar: str, count: int) -> dict:
    """Return every script that reads a tar file of `count` images, as a function without arguments."""
    identity = dict.fromkeys(("task", "dataset", "method", "variant", "seed"), "x")
    record = identity | {"status": "ok", "steps": 0, "weights_sha256": {}, "made_from": {"result": "x/x/x/x/x"}}
    records.write(Path(tar).parents[1] / "train.json", record)
    (folder / "mug").mkdir()
    picture().save(folder / "mug/a.png")
    download.main(subject(folder))
    dataset = {"dataset": subject(folder)["output"]["manifest"]}
    png = images.to_png(picture((8, 8)))
    control = {"dataset": hints(folder, [str(n) for n in range(count)], [png] * count)}

    def sheet(task: str, dataset: dict, **params):
        of = job(dataset, labels={tar: "HRA"}, metrics={}, rows=2, **params)
        return sheet_script.main(of | {"wildcards": {"task": task}})

    evaluation = {"evaluators": [], "best_by": ["blocked"], "prompts": ["x"], "prompts_class": ["x"]}
    evaluating = {"evaluation": evaluation, "method": {"kind": "hra"}, "device": "cpu", "task_version": 1}
    wildcards = identity | {"benchmark": "x"}

    def job(inputs: dict, **params) -> dict:
        outputs = {name: str(folder / f"out/{name}.png") for name in ("sheet", "images", "metrics", "predictions")}
        common = {"resources": {}, "wildcards": wildcards, "output": outputs}
        return common | {"input": {"images": [tar], "shards": [tar]} | inputs, "params": params}

    record = {"record": str(folder / "train.json"), "images": tar}
    return {
        "gather_images": lambda: gather_images.main(job(control, images=1)),
        "evaluate_subject": lambda: evaluate_subject.main(job(dataset | record, **evaluating)),
        "evaluate_control": lambda: list(evaluate_control.generated(job(record), count)),
        "sheet of a subject": lambda: sheet("subject", dataset, prompts=["x"]),
        "sheet of control images": lambda: sheet("control", control),
    }


def test_every_reader_detects_every_cut(tmp_path):
    path, count = tmp_path / "x/images.tar", 6
    about = {"blocked": False, "step": 0, "prompt_index": 0, "index": 0}
    pictures = [Picture(key((0, row)), images.to_png(picture((8, 8))), about | {"row": row}) for row in range(count)]
    images.pack(path, pictures, head=HEAD | {"result": "x/x/x/x/x/x"})
    whole = path.read_bytes()
    assert len(whole) == 2 * tarfile.RECORDSIZE  # truncation may leave a complete record
    for name, read in readers(tmp_path, str(path), count).items():
        path.write_bytes(whole)
        if name != "evaluate_subject":  # its job would need a complete run record
            read()
        for cut in range(0, len(whole.rstrip(b"\0")), tarfile.BLOCKSIZE):
            path.write_bytes(whole[:cut])
            with pytest.raises(JobError, match=r"images\.tar is truncated or corrupted .*\. Delete it and run again"):
                read()


def test_of_images_that_are_not_wanted_only_the_metadata_are_read(tmp_path, monkeypatch):
    noise = numpy.random.default_rng(0).integers(0, 256, (64, 64, 3), numpy.uint8)
    pictures = [Picture(f"a{n}", images.to_png(Image.fromarray(noise)), {"n": n, "blocked": False}) for n in range(20)]
    images.pack(tmp_path / "a.tar", pictures)
    read, plain = [], tarfile.ExFileObject.read
    monkeypatch.setattr(tarfile.ExFileObject, "read", lambda self: read.append(plain(self)) or read[-1])
    found = list(images.unpack(tmp_path / "a.tar", lambda about: about["n"] in (3, 19)))
    assert [one.about for one in found] == [one.about for one in pictures]
    assert [one.png for one in found] == [one.png if one.about["n"] in (3, 19) else b"" for one in pictures]
    assert sum(map(len, read)) < 0.15 * (tmp_path / "a.tar").stat().st_size


def unsupported(*_):
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


@pytest.mark.parametrize("hard_links", [True, False])
def test_a_single_shard_is_linked_and_has_the_bytes_of_several_merged(tmp_path, monkeypatch, hard_links):
    if not hard_links:
        monkeypatch.setattr(os, "link", unsupported)
    about = {"blocked": False}
    pictures = [Picture(key((0, row)), images.to_png(picture((8, 8))), about | {"row": row}) for row in range(4)]
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
    assert merged[0].samefile(tmp_path / "shard0-of-1.tar") == hard_links


def test_images_that_are_missing_from_a_closed_archive_are_counted(tmp_path):
    images.pack(tmp_path / "a.tar", made("a", "b"))
    with tarfile.open(tmp_path / "a.tar") as whole:
        names, header = whole.getnames()[:2], whole.pax_headers
        with tarfile.open(tmp_path / "b.tar", "w", format=tarfile.PAX_FORMAT, pax_headers=header) as half:
            for name in names:
                half.addfile(whole.getmember(name), whole.extractfile(name))
    with pytest.raises(JobError, match=r"b\.tar is truncated or corrupted \(expected 2 images, found 1\)"):
        list(images.unpack(tmp_path / "b.tar"))
    images.pack(tmp_path / "none.tar", [])
    assert list(images.unpack(tmp_path / "none.tar")) == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_a_tar_file_of_links_or_devices_is_refused(tmp_path, kind):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        member = tarfile.TarInfo("a.png")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(JobError, match=r"a\.tar is truncated or corrupted \(a\.png is not a plain file\)"):
        list(images.unpack(tmp_path / "a.tar"))


def test_a_damaged_tar_file_is_said(tmp_path):
    images.pack(tmp_path / "a.tar", made("a", "b"))
    whole = (tmp_path / "a.tar").read_bytes()
    deep = whole.replace(made("a")[0].png, b"x" * len(made("a")[0].png))  # the image itself is looked at when used
    with pytest.raises(JobError, match=r"a\.png: cannot be decoded as an image .* Delete \S+/a\.tar and run again"):
        (tmp_path / "a.tar").write_bytes(deep)
        _ = next(images.unpack(tmp_path / "a.tar")).image
    header = whole.index(b"b.png")
    for content in (b"", b"junk" * 400, whole[:header] + b"X" + whole[header + 1 :]):
        (tmp_path / "a.tar").write_bytes(content)
        with pytest.raises(JobError, match=r"a\.tar is truncated or corrupted"):
            list(images.unpack(tmp_path / "a.tar"))
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, content in (("a.png", b""), ("a.json", b"[" * 100_000)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    with pytest.raises(JobError, match=r"a\.tar is truncated or corrupted \(nested too deeply\)"):
        list(images.unpack(tmp_path / "a.tar"))


@pytest.mark.parametrize(
    ("keys", "message"),
    [("ac", "expected image b, found c"), ("ab", "1 of 3 images are missing, first c"), ("abcc", "found c")],
)
def test_nothing_is_missing_double_or_out_of_order(keys, message):
    assert [one.key for one in images.check_complete(made(*"abc"), list("abc"), "x.tar")] == list("abc")
    with pytest.raises(JobError, match=message):
        list(images.check_complete(made(*keys), list("abc"), "x.tar"))
