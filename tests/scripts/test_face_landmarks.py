"""Detectors of the 68 landmarks: face-alignment's code with random weights, dlib with its own on annotated faces."""

import importlib.util
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image

from common import control_metrics, face_landmarks, hints, judging
from common.job import JobError
from support import SHARED

FACES = SHARED / "data/faces_dlib68"
SIZE = (512, 512)
needs_data = pytest.mark.skipif(not FACES.is_dir(), reason="no ../shared/data on this machine")


def annotated() -> list[tuple[Image.Image, numpy.ndarray]]:
    """Each annotated face in the middle of a picture of 512 × 512, with its 68 points there."""
    found = []
    for split in ("training", "testing"):
        for image in ElementTree.parse(FACES / f"{split}_with_face_landmarks.xml").getroot().iter("image"):
            picture = Image.open(FACES / image.get("file")).convert("RGB")
            for box in image.iter("box"):
                parts = sorted(box.iter("part"), key=lambda part: part.get("name"))
                points = numpy.array([(int(part.get("x")), int(part.get("y"))) for part in parts], float)
                left, top, side = (int(box.get(name)) for name in ("left", "top", "width"))
                x, y = left - side // 2, top - side // 2
                cut = picture.crop((x, y, x + 2 * side, y + 2 * side))  # black beyond the photograph
                scale = 256 / side
                moved = (points - (x, y) + 0.5) * scale - 0.5  # a pixel's coordinate is its middle's
                found.append((cut.resize(SIZE, Image.Resampling.BICUBIC), moved))
    return found


@pytest.mark.real
@needs_data
def test_hints_of_annotated_faces():
    """A dot at every point; jaw to the right of the nose stays right: x and y are not mixed up."""
    for picture, points in annotated():
        hint = numpy.asarray(hints.draw("landmarks", picture, points))[..., 0] > 0
        whole = numpy.clip(points.astype(int), 0, 511)
        assert hint[whole[:, 1], whole[:, 0]].all()
        assert 68 * 13 / 4 < hint.sum() < 68 * 60
        assert points[16, 0] > points[30, 0] > points[0, 0] and points[8, 1] > points[27, 1]


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
    return face_landmarks.load({"kind": "face-alignment"}, weights)


def test_face_alignment_runs_from_files(face_alignment, monkeypatch):
    """No face: nothing. Boxes put into its detector: 68 points each, in the picture's pixels, in the boxes' order."""
    picture = Image.effect_noise((96, 80), 60).convert("RGB")
    assert face_alignment.faces(picture) == []
    boxes = [numpy.array([8, 8, 40, 40, 0.9]), numpy.array([50, 30, 80, 60, 0.6])]
    monkeypatch.setattr(face_alignment.network.face_detector, "detect_from_image", lambda pixels: boxes)
    found = face_alignment.faces(picture)
    assert [points.shape for points in found] == [(68, 2), (68, 2)]
    for points, (left, top, right, bottom, _) in zip(found, boxes, strict=True):
        middle = numpy.array([(left + right) / 2, (top + bottom) / 2])
        assert (abs(points - middle) < 2 * (right - left)).all()
    with pytest.raises(JobError, match="2 faces found"):
        face_landmarks.only_face(face_alignment, picture, "0.jpg")


def test_missing_weights_and_unknown_kinds(weights, tmp_path):
    (tmp_path / "2DFAN4-11f355bf06.pth.tar").symlink_to(weights / "2DFAN4-11f355bf06.pth.tar")
    with pytest.raises(JobError, match=r"expected one file s3fd-\*\.pth, found 0"):
        face_landmarks.load({"kind": "face-alignment"}, tmp_path)
    with pytest.raises(JobError, match="face-alignment, dlib, object-points"):
        face_landmarks.load({"kind": "mtcnn"}, tmp_path)


MODELS = importlib.util.find_spec("face_recognition_models")


@pytest.mark.real
@pytest.mark.slow
@needs_data
@pytest.mark.skipif(MODELS is None, reason="PyPI's face-recognition-models (100 MB) is not installed")
def test_dlib_finds_annotated_faces():
    detector = face_landmarks.load({"kind": "dlib"}, Path(MODELS.origin).parent / "models")
    rows, relative = [], []
    for picture, points in annotated():
        rows.append(control_metrics.landmark_scores(detector.faces(picture), points, picture.size))
        eyes = [points[part].mean(axis=0) for part in (slice(36, 42), slice(42, 48))]
        relative.append((rows[-1]["landmark_error"] or numpy.nan) / numpy.linalg.norm(eyes[0] - eyes[1]))
    values = {name: numpy.array([row[name] for row in rows], float) for name in rows[0]}
    found = {name: entry["value"] for name, entry in judging.summary(values).items()}
    print(f"{len(rows)} faces at 512 pixels: {found}, {numpy.nanmedian(relative):.4f} of the eyes' distance (median)")
    assert found["no_face"] < 0.1 and found["landmark_error"] < 8 and numpy.nanmedian(relative) < 0.04
    with pytest.raises(JobError, match="no faces found"):
        face_landmarks.only_face(detector, Image.new("RGB", SIZE), "0.jpg")
