import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featherface_training.evaluation.calibration import Calibration, Judged, fit, judge, reliability

FACES = np.array([[0, 0, 10, 10], [20, 20, 30, 30], [40, 40, 50, 50]], float)


def found(*rows):
    return np.array(rows, float).reshape(-1, 5)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_the_most_confident_takes_the_face_and_ignored_faces_count_neither_way():
    judged = judge(
        found(
            [0, 0, 10, 9, 0.3],  # the same face again
            [0, 0, 10, 10, 0.9],
            [21, 20, 31, 30, 0.8],  # not counted
            [41, 40, 51, 50, 0.7],
            [60, 60, 70, 70, 0.6],
        ),
        FACES,
        np.array([True, False, True]),
    )
    assert judged.confidence.tolist() == [0.9, 0.7, 0.6, 0.3]
    assert judged.right.tolist() == [True, True, False, False]


def test_on_a_photo_without_faces_all_is_wrong():
    judged = judge(found([0, 0, 5, 5, 0.9]), np.empty((0, 4)), np.empty(0, bool))
    assert judged.right.tolist() == [False]


@given(scale=st.floats(0.4, 3), shift=st.floats(-1.5, 1.5))
def test_what_distorted_the_probabilities_is_found_again(scale, shift):
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 2, 20_000)
    right = rng.random(len(truth)) < sigmoid(truth)
    fitted = fit(Judged(sigmoid((truth - shift) / scale), right))
    assert fitted.scale == pytest.approx(scale, rel=0.08)
    assert fitted.shift == pytest.approx(shift, abs=0.12)


def test_a_fit_makes_confidences_reliable():
    rng = np.random.default_rng(1)
    margin = rng.normal(0, 2, 20_000)
    right = rng.random(len(margin)) < sigmoid(margin)
    judged = Judged(sigmoid(3 * margin + 1), right)
    fitted = fit(judged)
    before, logit = reliability(judged), 3 * margin + 1
    after = reliability(Judged(sigmoid(fitted.scale * logit + fitted.shift), right))
    assert before.error > 0.1 > 0.02 > after.error
    assert before.count.sum() == after.count.sum() == len(right)


@pytest.mark.parametrize(
    "judged",
    [
        Judged(np.empty(0), np.empty(0, bool)),
        Judged(np.array([0.9, 0.8, 0.2, 0.1]), np.array([False, False, True, True])),
    ],
)
def test_nothing_is_changed_where_nothing_can_be_learnt(judged):
    assert fit(judged) == Calibration(1.0, 0.0)


def test_one_kind_of_detections_alone_gives_finite_numbers():
    fitted = fit(Judged(np.array([0.6, 0.7, 0.9]), np.ones(3, bool)))
    assert np.isfinite([fitted.scale, fitted.shift]).all()


def test_reliability_is_the_weighted_difference():
    table = reliability(Judged(np.array([0.25, 0.25, 1.0, 1.0]), np.array([True, False, True, True])))
    assert table.count.tolist() == [0, 0, 2, 0, 0, 0, 0, 0, 0, 2]
    assert table.right[[2, 9]].tolist() == [0.5, 1.0]
    assert table.error == pytest.approx((0.25 * 2 + 0 * 2) / 4)


def test_folding_moves_the_confidence_and_nothing_else():
    torch = pytest.importorskip("torch")
    from featherface_training.calibrate import fold
    from featherface_training.models import build_model

    torch.manual_seed(0)
    model = build_model("nano").eval()
    image = torch.randn(1, 3, 64, 64) * 50
    with torch.no_grad():
        before = model(image)
        fold(model, Calibration(1.5, -0.25))
        after = model(image)
    margins = [o[0][..., 1] - o[0][..., 0] for o in (before, after)]
    assert torch.allclose(margins[1], 1.5 * margins[0] - 0.25, atol=1e-4)
    assert torch.equal(before[1], after[1])
    assert torch.equal(before[2], after[2])


def test_a_model_is_calibrated_on_a_pack(packed):
    pytest.importorskip("torch")
    from featherface_training.calibrate import calibrate
    from featherface_training.models import build_model

    model = build_model("nano").eval()
    bias = model.heads[0].classification.bias.detach().clone()
    calibration = calibrate(model, packed, photos=2, size=64)
    expected = bias * calibration.scale
    expected[1::2] += calibration.shift
    assert model.heads[0].classification.bias.detach().numpy() == pytest.approx(expected.numpy())
