"""The loss that climbs average precision: what a crop's detections are, and which way they are moved."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from featherface_training.data.augment import AugmentSettings, augment  # noqa: E402
from featherface_training.data.loader import Batch  # noqa: E402
from featherface_training.data.wider import LabelledPhoto  # noqa: E402
from featherface_training.evaluation.ground_truth import PhotoTruth  # noqa: E402
from featherface_training.evaluation.protocol import DIFFICULTIES, evaluate  # noqa: E402
from featherface_training.losses.ranking import RankingLoss, RankingSettings, judge  # noqa: E402

SIDE = 1000
FACE, BESIDE, ELSEWHERE = [100, 100, 200, 200], [140, 100, 240, 200], [500, 500, 600, 600]


def labelled(boxes=(), ignored=(), heights=None):
    def array(rows):
        return np.array(rows, np.float32).reshape(-1, 4)

    points = np.full((len(boxes), 5, 2), np.nan, np.float32)
    return LabelledPhoto("a.jpg", array(boxes), points, array(ignored), heights)


def batch_of(*photos):
    return Batch.of(torch.zeros(len(photos), 3, SIDE, SIDE, dtype=torch.uint8), photos)


def gradients(settings, margins, corners, *photos, before=()):
    """Return loss and gradients of one batch of crops, a photo each, after the batches `before`."""
    loss = RankingLoss(settings)
    for seen in (*before, (margins, corners, photos)):
        m = torch.tensor(seen[0], dtype=torch.float32, requires_grad=True)
        c = torch.tensor(seen[1], dtype=torch.float32, requires_grad=True)
        value = loss(m, c, batch_of(*seen[2]))
    if value.requires_grad:
        value.backward()
    return value.item(), m.grad, c.grad


numbers = st.integers(0, 120)
boxes = st.lists(st.tuples(numbers, numbers, numbers, numbers), min_size=1, max_size=8).map(
    # so large that the protocol's border pixel is nothing, and away from the edge
    lambda rows: np.array(
        [[1e4 * x + 5e4, 1e4 * y + 5e4, 1e4 * w + 3e5, 1e4 * h + 3e5] for x, y, w, h in rows]
    )
)


@given(boxes, boxes, st.data())
def test_what_overlaps_enough_is_what_the_protocol_counts(detections, faces, data):
    ways = st.lists(st.booleans(), min_size=len(faces), max_size=len(faces))
    counted = np.array([data.draw(ways) for _ in DIFFICULTIES], bool).T
    corners, others = (np.concatenate([b[:, :2], b[:, :2] + b[:, 2:]], 1) for b in (detections, faces))
    judged = judge(corners, others, counted, 10**7)
    scores = np.arange(len(detections), 0, -1, dtype=float)[:, None]
    truth = PhotoTruth(faces, dict(zip(DIFFICULTIES, counted.T, strict=True)))
    curves = evaluate({"a": np.concatenate([detections, scores], 1)}, {"a": truth})
    shared = [
        (np.minimum(corners[i, 2:], others[f, 2:]) - np.maximum(corners[i, :2], others[f, :2])).clip(0).prod()
        for i, f in enumerate(judged.face)
    ]
    areas = detections[:, 2:].prod(1) + faces[judged.face, 2:].prod(1) - shared
    enough = (judged.face >= 0) & (np.array(shared) / areas >= 0.5)
    for level, difficulty in enumerate(DIFFICULTIES):
        right = judged.counts[:, level] & enough
        false = (judged.wrong[:, level] == 2) | ((judged.wrong[:, level] == 1) & ~enough)
        curve = curves[difficulty]
        assert right.sum() == round(curve.recall[-1] * max(curve.faces, 1))
        if right.sum() + false.sum():
            assert right.sum() / (right.sum() + false.sum()) == pytest.approx(curve.precision[-1])


def test_faces_are_raised_and_false_alarms_lowered():
    random = np.random.default_rng(2)
    settings = RankingSettings(weight=1.0, least=0)
    margins = random.normal([1.0, 0.0], 1.0, (200, 2))
    _, steps, _ = gradients(settings, margins, [[FACE, ELSEWHERE]] * 200, *[labelled([FACE])] * 200)
    assert steps[:, 0].mean() < 0 < steps[:, 1].mean()


def test_a_box_that_is_off_is_drawn_to_its_face():
    settings = RankingSettings(weight=1.0, least=0)
    _, _, corners = gradients(settings, [[1.0, 0.0]], [[BESIDE, ELSEWHERE]], labelled([FACE]))
    # its left and right sides lie 40 px too far to the right
    assert (corners[0, 0, [0, 2]] > 0).all()
    assert not corners[0, 1].any()


@pytest.mark.parametrize(
    ("photo", "box"),
    [
        (labelled([FACE], [ELSEWHERE]), ELSEWHERE),
        (labelled([FACE, ELSEWHERE], heights=np.array([60, 5], np.float32)), ELSEWHERE),
        (labelled([FACE]), [0, 500, 100, 600]),
    ],
    ids=["where nobody knows", "too small in its photo", "cut by the edge"],
)
def test_some_count_neither_way(photo, box):
    settings = RankingSettings(weight=1.0, least=0)
    value, margins, _ = gradients(settings, [[0.5, 1.0]], [[FACE, box]], photo)
    # all but nothing: full overlap counts as right but for a trace
    assert value == pytest.approx(-sum(settings.difficulties), rel=0.005)
    assert abs(margins[0, 1]) < 1e-3


def test_whatever_lies_within_an_ignored_region_counts_neither_way_if_asked():
    further = [800, 800, 900, 900]
    told, untold = (RankingSettings(weight=1.0, least=0, ignore_within=way) for way in (True, False))

    def value(settings, boxes, *ignored):
        margins = [[0.5, 1.0, 0.8][: len(boxes)]]
        return gradients(settings, margins, [boxes], labelled([FACE], ignored))[0]

    region = [400, 400, 700, 700]
    alone = value(told, [FACE])
    assert value(told, [FACE, ELSEWHERE], region) == pytest.approx(alone, rel=0.005)
    assert value(untold, [FACE, ELSEWHERE], region) > 0.9 * alone
    # outside it a false alarm stays one, within it a face stays a face
    assert value(told, [FACE, ELSEWHERE, further], region) > 0.9 * alone
    assert value(told, [FACE, ELSEWHERE], [0, 0, 300, 300]) == value(untold, [FACE, ELSEWHERE])


def test_there_is_no_loss_before_enough_is_remembered_and_then_a_crop_counts_as_one_of_many():
    crop = ([[0.5, 1.0]], [[FACE, ELSEWHERE]], [labelled([FACE])])
    settings = RankingSettings(weight=2.0, least=3, crops=5)
    assert gradients(settings, *crop[:2], *crop[2], before=[crop] * 2)[:2] == (0.0, None)
    alone = gradients(RankingSettings(weight=2.0, least=0), *crop[:2], *crop[2])
    among = gradients(settings, *crop[:2], *crop[2], before=[crop] * 9)
    # alike crops: as one list they have the precision of one, and the batch moves a sixth of it
    assert among[0] == pytest.approx(6 * alone[0], rel=1e-4)
    assert torch.allclose(among[1], alone[1], atol=1e-4)


def test_a_memory_too_short_for_a_loss_is_refused():
    with pytest.raises(ValueError, match="got `crops` of 50"):
        RankingSettings(crops=50)


def test_heights_stay_those_of_the_photo():
    photo = labelled([[100, 100, 160, 180], [300, 200, 320, 240]])
    settings = AugmentSettings(scales=(1.0,))
    for seed in range(5):
        pixels = np.zeros((400, 400, 3), np.uint8)
        _, placed = augment(np.random.default_rng(seed), pixels, photo, 200, settings)
        np.testing.assert_allclose(placed.heights, 2 * (placed.boxes[:, 3] - placed.boxes[:, 1]), rtol=1e-5)
        assert batch_of(placed, placed).heights.tolist() == [*placed.heights, *placed.heights]
