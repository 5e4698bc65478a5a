"""Metrics of control against their definitions, other libraries and hand values."""

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hra_workflow.core.errors import JobError
from hra_workflow.evaluators import aggregation, edges, fid, landmarks, registry, segmentation


def noise(seed: int, size=(48, 40)) -> Image.Image:
    """Blots with edges in many places."""
    small = numpy.random.default_rng(seed).integers(0, 256, (size[1] // 8, size[0] // 8, 3), numpy.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def test_edges_against_scikit_learn():
    from sklearn.metrics import f1_score, jaccard_score

    first, second = noise(0), noise(1)
    found = edges.edge_scores(first, second)
    a, b = (edges.edges(picture).ravel() for picture in (first, second))
    assert found == {"_iou": pytest.approx(jaccard_score(b, a)), "_f1": pytest.approx(f1_score(b, a))}
    assert 0 < found["_iou"] < found["_f1"] < 1
    assert edges.edge_scores(first, first) == {"_iou": 1, "_f1": 1}


def test_edges_of_plain_pictures_have_a_value():
    plain = Image.new("RGB", (48, 40), "red")
    assert edges.edge_scores(plain, Image.new("RGB", (48, 40))) == {"_iou": 1, "_f1": 1}
    assert edges.edge_scores(plain, noise(0)) == {"_iou": 0, "_f1": 0}
    with pytest.raises(JobError, match="found 64 × 40"):
        edges.edge_scores(noise(0, (64, 40)), noise(0))


def maps(seed: int, classes=150, count=6, absent=3) -> list[tuple]:
    """Return (predicted, labels): mostly correct, some labels IGNORED, the last classes in neither."""
    generator = numpy.random.default_rng(seed)
    found = []
    for _ in range(count):
        labels = generator.integers(0, classes - absent, (30, 40))
        predicted = numpy.where(generator.random(labels.shape) < 0.7, labels, generator.permutation(labels))
        labels[generator.random(labels.shape) < 0.1] = segmentation.IGNORED
        found.append((predicted.astype(numpy.uint8), labels.astype(numpy.uint8)))
    return found


@pytest.mark.parametrize("classes", [150, 5])
def test_segmentation_against_mmsegmentation_s_own_evaluator(classes):
    segmentation.import_mmseg()
    from mmseg.evaluation import IoUMetric

    metric = IoUMetric(iou_metrics=["mIoU"], ignore_index=segmentation.IGNORED)
    metric.dataset_meta = {"classes": [str(index) for index in range(classes)]}
    pairs = maps(0, classes)
    for predicted, labels in pairs:
        both = {"pred_sem_seg": predicted, "gt_sem_seg": labels}
        metric.process({}, [{key: {"data": torch.from_numpy(value)[None].long()} for key, value in both.items()}])
    expected = metric.evaluate(len(pairs))
    areas = numpy.array([segmentation.class_areas(*pair, classes) for pair in pairs])
    for name, value in segmentation.segmentation_scores(areas.sum(0)).items():
        assert 100 * value == pytest.approx(
            {key.lower(): number for key, number in expected.items()}[name.removeprefix("_")], abs=0.0051
        )


def test_areas_are_sums_of_torchmetrics_confusion_matrix():
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    for predicted, labels in maps(1):
        pair = (torch.from_numpy(part).long() for part in (predicted, labels))
        matrix = multiclass_confusion_matrix(*pair, segmentation.CLASSES, ignore_index=segmentation.IGNORED)
        sums = torch.stack([matrix.diagonal(), matrix.sum(0), matrix.sum(1)]).numpy()
        assert (segmentation.class_areas(predicted, labels) == sums).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_areas_by_counting(seed):
    ((predicted, labels),) = maps(seed, classes=4, count=1, absent=1)
    known = labels != segmentation.IGNORED
    right, of_prediction, of_labels = segmentation.class_areas(predicted, labels, 4)
    for index in range(4):
        assert right[index] == ((predicted == index) & (labels == index)).sum()
        assert of_prediction[index] == ((predicted == index) & known).sum()
        assert of_labels[index] == (labels == index).sum()


def test_segmentation_hand_values():
    labels = numpy.array([[0, 0, 0, 1], [segmentation.IGNORED] * 4])
    areas = segmentation.class_areas(numpy.array([[0, 0, 1, 1], [2, 2, 2, 2]]), labels, 3)
    found = segmentation.segmentation_scores(areas)
    assert found == {
        "_miou": pytest.approx((2 / 3 + 1 / 2) / 2),
        "_macc": pytest.approx((2 / 3 + 1) / 2),
        "_aacc": 0.75,
    }


def test_standard_error_agrees_with_the_formula_where_there_is_one():
    """Check that aAcc is the mean of the images' accuracies if all have the same number of labels."""
    generator = numpy.random.default_rng(0)
    labels = generator.integers(0, 3, (60, 10, 10))
    rates = generator.uniform(0.3, 0.9, (60, 1, 1))
    predicted = numpy.where(generator.random(labels.shape) < rates, labels, (labels + 1) % 3)
    areas = numpy.array([segmentation.class_areas(*pair, 3) for pair in zip(predicted, labels, strict=True)])
    found = segmentation.segmentation_summary(areas)["_aacc"]
    accuracies = (predicted == labels).mean(axis=(1, 2))
    assert found["value"] == pytest.approx(accuracies.mean())
    assert found["stderr"] == pytest.approx(accuracies.std(ddof=1) / 60**0.5, rel=0.1)


def test_segmentation_bad_input():
    labels = numpy.zeros((4, 4), numpy.uint8)
    with pytest.raises(JobError, match=r"expected 4 × 4 pixels, .* found 5 × 4"):
        segmentation.class_areas(numpy.zeros((4, 5), numpy.uint8), labels)
    with pytest.raises(JobError, match="0 to 4, found 0 to 7"):
        segmentation.class_areas(numpy.eye(4, dtype=int) * 7, labels, 5)
    with pytest.raises(JobError, match="expected labels 0 to 2, found 0 to 3"):
        segmentation.class_areas(labels, numpy.eye(4, dtype=int) * 3, 3)
    nothing = segmentation.class_areas(labels, numpy.full((4, 4), segmentation.IGNORED))
    with pytest.raises(JobError, match="expected labelled pixels"):
        segmentation.segmentation_summary(nothing[None])


SIZE = (512, 384)
SHIFT = numpy.array([3, 4])  # by 5 pixels
TRUTH = numpy.random.default_rng(0).uniform(0, SIZE, (68, 2))


def test_landmark_error_is_the_mean_distance():
    shifted = TRUTH + SHIFT
    found = landmarks.landmark_scores([shifted, TRUTH], TRUTH, SIZE)
    assert found == {
        "_error": pytest.approx(5),
        "_error_all": pytest.approx(5),
        "_no_face": 0,
        "_several_faces": 1,
    }
    half = TRUTH.copy()
    half[:34] += [6, 8]
    assert landmarks.landmark_scores([half], TRUTH, SIZE)["_error"] == pytest.approx(5)
    with pytest.raises(JobError, match=r"expected points of shape \(68, 2\) as annotated, found \(5, 2\)"):
        landmarks.landmark_scores([TRUTH[:5]], TRUTH, SIZE)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_a_missing_face_never_improves_the_error(seed):
    anywhere = numpy.random.default_rng(seed).uniform(0, SIZE, TRUTH.shape)
    missing = landmarks.landmark_scores([], TRUTH, SIZE)
    assert missing["_error"] is None and missing["_no_face"] == 1
    assert missing["_error_all"] >= landmarks.landmark_scores([anywhere], TRUTH, SIZE)["_error"]


def test_every_point_of_a_missing_face_is_at_its_farthest_corner():
    points = numpy.array([[0, 0], [80, 60]])  # 500 and 400 pixels from the corner (400, 300)
    assert landmarks.landmark_scores([], points, (400, 300))["_error_all"] == pytest.approx(450)


def test_standard_errors_by_hand():
    expected = {"value": 3, "stderr": pytest.approx((14 / 3 / 4) ** 0.5)}  # squared deviations of 4 + 1 + 0 + 9
    assert aggregation.summary({"a": numpy.array([1, 2, numpy.nan, 3, 6])})["a"] == expected
    for weight in (1, 7):
        assert aggregation.weighted(numpy.array([1, 2, 3, 6]), numpy.full(4, weight)) == expected


def test_both_conventions_of_a_set():
    rows = [landmarks.landmark_scores(faces, TRUTH, SIZE) for faces in ([TRUTH + SHIFT], [], [TRUTH], [])]
    values = {
        name: numpy.array([row[name] if row[name] is not None else numpy.nan for row in rows]) for name in rows[0]
    }
    found = aggregation.summary(values)
    assert found["_error"]["value"] == pytest.approx(2.5)  # the official mean leaves two of four out
    assert found["_error_all"]["value"] > 100 and found["_no_face"]["value"] == 0.5


class Means(torch.nn.Module):
    """Compute features of an image, linear in the means of its channels and of its left half."""

    num_features = 4

    def forward(self, pixels):
        found = pixels.double() / 255
        return torch.cat([found.mean((2, 3)), found[:, :1, :, : found.shape[3] // 2].mean((2, 3))], 1)


def test_fid_is_its_formula():
    """Compute |m − n|² + tr(A + B − 2 (A B)^½) from the features' means and covariances."""
    from scipy.linalg import sqrtm

    real, generated = ([noise(seed) for seed in seeds] for seeds in (range(12), range(20, 38)))
    network = Means()
    features = [
        network(torch.stack([torch.from_numpy(numpy.array(one)).permute(2, 0, 1) for one in pictures])).numpy()
        for pictures in (real, generated)
    ]
    (m, n), (a, b) = ([part.mean(0) for part in features], [numpy.cov(part.T) for part in features])
    expected = ((m - n) ** 2).sum() + numpy.trace(a + b - 2 * sqrtm(a @ b).real)
    assert fid.fid(iter(real), iter(generated), network) == pytest.approx(expected, rel=1e-6)
    mixed = [[*real[:5], noise(99, (64, 40)), *real[5:]], generated]
    assert fid.fid(*mixed, network, batch=4) == pytest.approx(fid.fid(*mixed, network, batch=1), rel=1e-12)
    assert fid.fid(real, real, network) == pytest.approx(0, abs=1e-7)
    with pytest.raises(JobError, match="18 real, 1 generated"):
        fid.fid(generated, real[:1], network)


class Harm:
    def __reduce__(self):
        return print, ("code ran",)


def test_weights_with_code_are_refused(tmp_path, capsys):
    with pytest.raises(JobError, match="expected one file weights-inception"):
        fid.fid([], [], tmp_path)
    torch.save({"state_dict": Harm()}, tmp_path / fid.INCEPTION)
    with pytest.raises(JobError, match="expected only tensors, found objects that could execute code"):
        fid.fid([], [], tmp_path)
    (tmp_path / fid.INCEPTION).rename(tmp_path / "segformer.pth")
    with pytest.raises(JobError, match="expected only tensors, found objects that could execute code"):
        registry.load({"kind": "segformer-mmseg", "config": segmentation.B4}, tmp_path)
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.slow
def test_fid_with_inception_s_own_network(tmp_path, monkeypatch):
    """Random weights in the published file's layout: features (N, 2048), a distance of 0 from itself."""
    from torch_fidelity import feature_extractor_inceptionv3 as inception

    with monkeypatch.context() as patched:
        patched.setattr(inception, "load_state_dict_from_url", lambda *_, **__: {})
        patched.setattr(torch.nn.Module, "load_state_dict", lambda *_, **__: None)
        network = inception.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    torch.save(network.state_dict(), tmp_path / fid.INCEPTION)
    pictures = [noise(seed) for seed in range(6)]
    same, other = (fid.fid(pictures[:3], generated, tmp_path) for generated in (pictures[:3], pictures[3:]))
    assert abs(same) < 1e-3 * other and other > 0
