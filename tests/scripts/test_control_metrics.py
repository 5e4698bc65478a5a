"""Metrics of control against their definitions, other libraries and hand values; images in batches."""

import numpy
import pytest
import torch
from PIL import Image

from hra_workflow.core.errors import JobError
from hra_workflow.evaluators import aggregation, batches, edges, fid, landmarks, segmentation


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
    plain = Image.new("RGB", (48, 40), "red")
    assert edges.edge_scores(plain, Image.new("RGB", (48, 40))) == {"_iou": 1, "_f1": 1}
    assert edges.edge_scores(plain, first) == {"_iou": 0, "_f1": 0}


def test_segmentation_against_mmsegmentation_s_own_evaluator():
    segmentation.import_mmseg()
    from mmseg.evaluation import IoUMetric

    metric = IoUMetric(iou_metrics=["mIoU"], ignore_index=segmentation.IGNORED)
    metric.dataset_meta = {"classes": [str(index) for index in range(segmentation.CLASSES)]}
    generator, pairs = numpy.random.default_rng(0), []
    for _ in range(6):  # mostly correct, some labels ignored, the last classes in neither
        labels = generator.integers(0, segmentation.CLASSES - 3, (30, 40))
        predicted = numpy.where(generator.random(labels.shape) < 0.7, labels, generator.permutation(labels))
        labels[generator.random(labels.shape) < 0.1] = segmentation.IGNORED
        pairs.append((predicted.astype(numpy.uint8), labels.astype(numpy.uint8)))
        predicted, labels = pairs[-1]
        both = {"pred_sem_seg": predicted, "gt_sem_seg": labels}
        metric.process({}, [{key: {"data": torch.from_numpy(value)[None].long()} for key, value in both.items()}])
    expected = metric.evaluate(len(pairs))
    areas = numpy.array([segmentation.class_areas(*pair) for pair in pairs])
    found = {name: 100 * value for name, value in segmentation.segmentation_scores(areas.sum(0)).items()}
    assert found == pytest.approx({f"_{key.lower()}": number for key, number in expected.items()}, abs=0.0051)


SIZE = (512, 384)
TRUTH = numpy.random.default_rng(0).uniform(0, SIZE, (68, 2))


def areas(predicted, labels):
    return segmentation.segmentation_summary(segmentation.class_areas(predicted, labels, 5)[None])


ZEROS, SEVENS = numpy.zeros((4, 4), int), numpy.eye(4, dtype=int) * 7


@pytest.mark.parametrize(
    ("metric", "first", "second", "message"),
    [
        (areas, numpy.zeros((4, 5), int), ZEROS, r"expected 4 × 4 pixels, .* found 5 × 4"),
        (areas, SEVENS, ZEROS, "0 to 4, found 0 to 7"),
        (areas, ZEROS, numpy.full((4, 4), segmentation.IGNORED), "expected labelled pixels"),
        (edges.edge_scores, noise(0, (64, 40)), noise(0), "found 64 × 40"),
        (fid.fid, [noise(0)] * 2, [noise(0)], "2 real, 1 generated"),
        (landmarks.landmark_scores, [TRUTH[:5]], TRUTH, r"expected points of shape \(68, 2\) .* found \(5, 2\)"),
    ],
)
def test_what_cannot_be_scored_is_an_error(metric, first, second, message):
    further = {fid.fid: (Means(),), landmarks.landmark_scores: (SIZE,)}.get(metric, ())
    with pytest.raises(JobError, match=message):
        metric(first, second, *further)


def test_landmark_error_is_the_mean_distance_and_that_of_a_missing_face_the_farthest():
    found = landmarks.landmark_scores([TRUTH + numpy.array([3, 4]), TRUTH], TRUTH, SIZE)
    five = {name: pytest.approx(5) for name in ("_error", "_error_all")}
    assert found == five | {"_no_face": 0, "_several_faces": 1}
    points = numpy.array([[0, 0], [80, 60]])  # 500 and 400 pixels from the corner (400, 300)
    found = landmarks.landmark_scores([], points, (400, 300))
    assert (found["_error"], found["_error_all"], found["_no_face"]) == (None, pytest.approx(450), 1)


def test_standard_errors_by_hand():
    expected = {"value": 3, "stderr": pytest.approx((14 / 3 / 4) ** 0.5)}  # squared deviations of 4 + 1 + 0 + 9
    assert aggregation.summary({"a": numpy.array([1, 2, numpy.nan, 3, 6])})["a"] == expected


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


class Harm:
    def __reduce__(self):
        return print, ("code ran",)


def test_weights_with_code_are_refused(tmp_path, capsys):
    with pytest.raises(JobError, match="expected one file weights-inception"):
        fid.fid([], [], tmp_path)
    torch.save({"state_dict": Harm()}, tmp_path / fid.INCEPTION)
    with pytest.raises(JobError, match="expected only tensors, found objects that could execute code"):
        fid.fid([], [], tmp_path)
    assert "code ran" not in capsys.readouterr().out


SIZES = [(16, 8)] * 5 + [(8, 16)] + [(16, 8)] * 2


def test_batches_are_consecutive_images_of_one_size_and_halved_if_memory_is_short(capsys):
    shown, asked = [noise(seed, size) for seed, size in enumerate(SIZES)], []

    def work(images):
        asked.append(len(images))
        assert len({image.size for image in images}) == 1
        if len(images) > 2:
            raise torch.cuda.OutOfMemoryError
        return (image.tobytes() for image in images)

    assert list(batches.results(work, iter(shown), 3)) == [image.tobytes() for image in shown]
    assert asked == [3, 1, 2, 2, 1, 2] and list(batches.results(work, [], 3)) == []
    assert "out of memory with a batch of 3 images; continuing with half of it" in capsys.readouterr().out
    assert (batches.size("cpu", 8), batches.size("cuda", 8)) == (1, 8)
