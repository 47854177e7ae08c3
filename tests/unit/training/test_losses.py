import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from featherface.priors import decode_boxes as deployed_boxes  # noqa: E402
from featherface.priors import decode_landmarks as deployed_landmarks  # noqa: E402
from featherface.priors import make_priors  # noqa: E402
from featherface_training.losses.distillation import DistillationSettings, distillation_loss  # noqa: E402
from featherface_training.losses.matching import Matches, Predicted, match  # noqa: E402
from featherface_training.losses.multitask import (  # noqa: E402
    LossSettings,
    decode_boxes,
    encode_boxes,
    encode_landmarks,
    multitask_loss,
)

PRIORS = torch.from_numpy(make_priors(96, 128).copy())
BOXES = torch.zeros(3, len(PRIORS), 4)


def random_faces(seed, count):
    rng = np.random.default_rng(seed)
    sides = rng.uniform(3, 90, (count, 2))
    corners = rng.uniform(0, 1, (count, 2)) * (np.array([128, 96]) - sides).clip(1)
    boxes = torch.from_numpy(np.concatenate([corners, corners + sides], 1)).float()
    return boxes, torch.from_numpy(rng.integers(0, 3, count))


def overlap(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0, 0.0
    shared, area = width * height, (a[2] - a[0]) * (a[3] - a[1])
    return shared / (area + (b[2] - b[0]) * (b[3] - b[1]) - shared), shared / area


def slow_match(boxes, owners, image):
    """Restate the rules one prior and one face at a time."""
    corners = [(x - w / 2, y - h / 2, x + w / 2, y + h / 2) for x, y, w, h in PRIORS.tolist()]
    faces = [i for i, owner in enumerate(owners.tolist()) if owner == image]
    table = {(f, p): overlap(boxes[f].tolist(), c) for f in faces for p, c in enumerate(corners)}
    result = [-1] * len(corners)
    usable = [f for f in faces if max(table[f, p][0] for p in range(len(corners))) >= 0.2]
    for p in range(len(corners)):
        best = max(faces, key=lambda f: table[f, p][0], default=None)
        if best is not None and table[best, p][0] >= 0.35:
            result[p] = best
        elif any(table[f, p][1] >= 0.5 for f in faces if f not in usable):
            result[p] = -2
    for f in usable:
        result[max(range(len(corners)), key=lambda p: table[f, p][0])] = f
    return result


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.integers(0, 6))
def test_matching_equals_a_slow_formulation(seed, count):
    boxes, owners = random_faces(seed, count)
    fast = match(PRIORS, boxes, owners, 3)
    for image in range(3):
        assert fast.face[image].tolist() == slow_match(boxes, owners, image)


def test_encoding_is_the_inverse_of_the_deployed_decoding():
    boxes, _ = random_faces(3, 50)
    priors = PRIORS[torch.randint(len(PRIORS), (50,), generator=torch.Generator().manual_seed(0))]
    encoded = encode_boxes(boxes, priors)
    np.testing.assert_allclose(deployed_boxes(encoded.numpy(), priors.numpy()), boxes, atol=1e-3)
    np.testing.assert_allclose(decode_boxes(encoded, priors), boxes, atol=1e-3)
    points = torch.rand(50, 10) * 100
    back = deployed_landmarks(encode_landmarks(points, priors).numpy(), priors.numpy())
    np.testing.assert_allclose(back, points, atol=1e-3)


def perfect_outputs(boxes, landmarks, matches):
    face = matches.face.clamp(min=0)
    logits = torch.where(matches.positive, 12.0, -12.0)
    every = PRIORS.repeat(len(face), 1)
    return (
        torch.stack([-logits, logits], -1),
        encode_boxes(boxes[face.reshape(-1)], every).view(*face.shape, 4),
        encode_landmarks(landmarks[face.reshape(-1)], every).view(*face.shape, 10),
    )


@pytest.mark.parametrize("classification", ["ohem", "focal", "quality"])
@pytest.mark.parametrize("box", ["smooth_l1", "giou", "diou", "eiou"])
@pytest.mark.parametrize("landmark", ["smooth_l1", "wing"])
def test_perfect_outputs_cost_nothing_and_worse_ones_more(classification, box, landmark):
    boxes, owners = random_faces(5, 6)
    landmarks = torch.rand(6, 10) * 90
    matches = match(PRIORS, boxes, owners, 3)
    chosen = LossSettings(classification=classification, box=box, landmark=landmark)
    outputs = perfect_outputs(boxes, landmarks, matches)
    best = multitask_loss(outputs, PRIORS, boxes, landmarks, matches, chosen)
    assert max(best.classification, best.box, best.landmark) < 1e-3
    worse = multitask_loss(tuple(o * 0.5 for o in outputs), PRIORS, boxes, landmarks, matches, chosen)
    assert worse.classification > best.classification
    assert worse.box > best.box
    assert worse.landmark > best.landmark


def test_faces_without_landmarks_cost_nothing_there():
    boxes, owners = random_faces(5, 4)
    landmarks = torch.full((4, 10), float("nan"))
    matches = match(PRIORS, boxes, owners, 3)
    outputs = tuple(torch.randn(3, len(PRIORS), n, requires_grad=True) for n in (2, 4, 10))
    losses = multitask_loss(outputs, PRIORS, boxes, landmarks, matches, LossSettings())
    assert losses.landmark == 0
    (losses.classification + losses.box + losses.landmark).backward()
    assert all(torch.isfinite(o.grad).all() for o in outputs if o.grad is not None)


def test_a_batch_without_faces_still_teaches_the_background():
    matches = match(PRIORS, torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), 2)
    outputs = tuple(torch.zeros(2, len(PRIORS), n, requires_grad=True) for n in (2, 4, 10))
    losses = multitask_loss(outputs, PRIORS, torch.zeros(0, 4), torch.zeros(0, 10), matches, LossSettings())
    assert losses.classification > 0
    assert losses.box == losses.landmark == 0


def test_distillation_is_least_where_student_and_teacher_agree():
    boxes, owners = random_faces(5, 4)
    matches = match(PRIORS, boxes, owners, 3)
    generator = torch.Generator().manual_seed(1)
    teacher = tuple(torch.randn(3, len(PRIORS), n, generator=generator) for n in (2, 4, 10))
    student = [t.clone().requires_grad_() for t in teacher]
    chosen = DistillationSettings()
    loss = distillation_loss(student, BOXES, teacher, matches, chosen)
    (gradient,) = torch.autograd.grad(loss, student[0])
    assert gradient.abs().max() < 1e-6
    moved = [t + 0.5 * torch.randn(t.shape, generator=generator) for t in teacher]
    assert distillation_loss(moved, BOXES, teacher, matches, chosen) > loss
    off = DistillationSettings(alpha=0.0, box_weight=0.0)
    assert distillation_loss(moved, BOXES, teacher, matches, off) == 0


def test_what_a_teacher_overlooks_is_left_to_the_labels():
    boxes, owners = random_faces(5, 4)
    matches = match(PRIORS, boxes, owners, 3)
    blind = (
        torch.tensor([12.0, -12.0]).expand(3, len(PRIORS), 2),
        *(torch.zeros(3, len(PRIORS), n) for n in (4, 10)),
    )
    seeing = torch.full((3, len(PRIORS)), -12.0).masked_fill(matches.positive, 12.0)
    student = (torch.stack([-seeing, seeing], -1), *blind[1:])
    assert distillation_loss(student, BOXES, blind, matches, DistillationSettings()) > 1
    left = DistillationSettings(overlooked_weight=0.0)
    assert distillation_loss(student, BOXES, blind, matches, left) < 1e-6
    # a false alarm is still corrected
    assert distillation_loss((-student[0], *blind[1:]), BOXES, blind, matches, left) > 1


def test_a_teacher_of_large_faces_is_not_heard_on_small_ones():
    boxes, owners = random_faces(5, 4)
    matches = match(PRIORS, boxes, owners, 3)
    teacher = tuple(torch.ones(3, len(PRIORS), n) for n in (2, 4, 10))
    margin = torch.full((3, len(PRIORS)), 3.0, requires_grad=True)
    student = (torch.stack([torch.zeros_like(margin), margin], -1), *teacher[1:])
    large = torch.zeros(3, len(PRIORS), dtype=torch.bool)
    large[:, ::2] = True
    corners = torch.where(large[..., None], torch.tensor([0, 0, 30, 64]), torch.tensor([0, 0, 63, 30]))
    settings = DistillationSettings(classes_from=64)
    distillation_loss(student, corners.float(), teacher, matches, settings).backward()
    assert (margin.grad[large] > 0).all()
    assert not margin.grad[~large].any()


def slow_atss(boxes, owners, image, outside=0.0):
    """Restate the paper one face at a time."""
    corners = [(x - w / 2, y - h / 2, x + w / 2, y + h / 2) for x, y, w, h in PRIORS.tolist()]
    best = {}
    for f in [i for i, owner in enumerate(owners.tolist()) if owner == image]:
        box = boxes[f].tolist()
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        near = []
        for sides in ((16, 32), (64, 128), (256, 512)):
            level = [p for p, prior in enumerate(PRIORS.tolist()) if prior[2] in sides]
            level.sort(key=lambda p: (PRIORS[p, 0] - x) ** 2 + (PRIORS[p, 1] - y) ** 2)
            near += level[:18]
        ious = np.array([overlap(box, corners[p])[0] for p in near])
        least = ious.mean() + ious.std(ddof=1)
        for p, iou in zip(near, ious, strict=True):
            cx, cy = PRIORS[p, 0], PRIORS[p, 1]
            inside = -outside + box[0] < cx < box[2] + outside and -outside + box[1] < cy < box[3] + outside
            if iou >= least and inside and iou > best.get(p, (0, 0))[0]:
                best[p] = (iou, f)
    return {p: f for p, (_, f) in best.items()}


@pytest.mark.parametrize("outside", [0.0, 4.0])
def test_atss_takes_the_priors_that_stand_out_of_a_faces_nearest(outside):
    # distances that tie would leave the ninth cell open: odd fractions of pixels don't
    boxes = torch.tensor([[10.13, 12.31, 51.7, 60.9], [40.21, 30.77, 52.3, 44.1], [3.17, 5.93, 90.1, 88.7]])
    owners = torch.tensor([0, 0, 1])
    fast = match(PRIORS, boxes, owners, 2, strategy="atss", outside=outside)
    for image in range(2):
        row = fast.face[image]
        assert {p: int(row[p]) for p in row.ge(0).nonzero()[:, 0].tolist()} == slow_atss(
            boxes, owners, image, outside
        )
    assert fast.positive.any(1).all()


def test_a_face_as_small_as_a_cell_gets_the_cells_beside_it_too():
    box, owner = torch.tensor([[41.3, 33.1, 49.2, 41.6]]), torch.tensor([0])
    counts = [
        int(match(PRIORS, box, owner, 1, strategy="atss", outside=o).positive.sum()) for o in (0.0, 4.0)
    ]
    assert counts == [1, 4]


def slow_simota(boxes, owners, image, predicted, outside):
    """Restate YOLOX's assignment one face at a time, over ATSS's candidates."""
    best = {}
    for f in [i for i, owner in enumerate(owners.tolist()) if owner == image]:
        box = boxes[f].tolist()
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        costs = {}
        ious = []
        for sides in ((16, 32), (64, 128), (256, 512)):
            level = [p for p, prior in enumerate(PRIORS.tolist()) if prior[2] in sides]
            level.sort(key=lambda p: (PRIORS[p, 0] - x) ** 2 + (PRIORS[p, 1] - y) ** 2)
            for p in level[:18]:
                cx, cy = PRIORS[p, 0], PRIORS[p, 1]
                if not (
                    -outside + box[0] < cx < box[2] + outside and -outside + box[1] < cy < box[3] + outside
                ):
                    continue
                iou = overlap(box, predicted.boxes[image, p].tolist())[0]
                probability = 1 / (1 + np.exp(-float(predicted.margins[image, p])))
                costs[p] = -np.log(probability) - 3 * np.log(iou + 1e-8)
                ious.append(iou)
        count = max(1, int(sum(sorted(ious)[-10:])))
        for p in sorted(costs, key=costs.__getitem__)[:count]:
            if costs[p] < best.get(p, (np.inf, 0))[0]:
                best[p] = (costs[p], f)
    return {p: f for p, (_, f) in best.items()}


@pytest.mark.parametrize("outside", [0.0, 4.0])
def test_simota_takes_the_priors_where_the_student_does_best(outside):
    boxes = torch.tensor([[10.13, 12.31, 51.7, 60.9], [40.21, 30.77, 52.3, 44.1], [3.17, 5.93, 90.1, 88.7]])
    owners = torch.tensor([0, 0, 1])
    generator = torch.Generator().manual_seed(5)
    offsets = torch.randn(2, len(PRIORS), 4, generator=generator)
    predicted = Predicted(
        torch.randn(2, len(PRIORS), generator=generator) * 3, decode_boxes(offsets * 2, PRIORS)
    )
    fast = match(PRIORS, boxes, owners, 2, strategy="simota", predicted=predicted, outside=outside)
    counts = []
    for image in range(2):
        row = fast.face[image]
        expected = slow_simota(boxes, owners, image, predicted, outside)
        assert {p: int(row[p]) for p in row.ge(0).nonzero()[:, 0].tolist()} == expected
        counts.append(len(expected))
    assert counts[1] > 1, "a large face takes several"


def test_simota_gives_a_face_between_the_cells_its_best_prior():
    # no cell has its centre within these 6 pixels
    boxes, owners = torch.tensor([[29.0, 29, 35, 35]]), torch.tensor([0])
    predicted = Predicted(torch.zeros(1, len(PRIORS)), decode_boxes(torch.zeros(1, len(PRIORS), 4), PRIORS))
    matches = match(PRIORS, boxes, owners, 1, strategy="simota", predicted=predicted)
    assert int(matches.positive.sum()) == 1
    assert float(PRIORS[matches.positive[0]][0, 2]) == 16


def test_simota_asks_for_what_the_student_predicts():
    with pytest.raises(ValueError, match="give `predicted`"):
        match(PRIORS, torch.ones(1, 4), torch.zeros(1, dtype=torch.int64), 1, strategy="simota")


@pytest.mark.parametrize("strategy", ["iou", "atss"])
def test_priors_that_look_like_the_matched_ones_are_not_taught_as_background(strategy):
    boxes = torch.tensor([[20.13, 32.31, 151.7, 160.9], [40.21, 30.77, 52.3, 44.1], [3.17, 5.93, 90.1, 88.7]])
    owners = torch.tensor([0, 0, 1])
    priors = torch.from_numpy(make_priors(192, 192).copy())
    plain, spared = (match(priors, boxes, owners, 2, strategy=strategy, spare=s).face for s in (1.0, 0.5))
    for image in range(2):
        mine = [box.tolist() for box, owner in zip(boxes, owners, strict=True) if owner == image]
        for p, (x, y, w, h) in enumerate(priors.tolist()):
            alike = any(overlap(box, (x - w / 2, y - h / 2, x + w / 2, y + h / 2))[0] >= 0.5 for box in mine)
            expected = -2 if plain[image, p] == -1 and alike else plain[image, p]
            assert spared[image, p] == expected
    # by IoU every prior that overlaps by half is matched: there is nothing to spare
    assert bool((spared != plain).any()) == (strategy == "atss")


@pytest.mark.parametrize("loss", ["diou", "smooth_l1"])
def test_balanced_faces_count_alike_however_many_priors_they_have(loss):
    boxes = torch.tensor([[10.0, 12, 70, 90], [100.2, 33.1, 108.6, 41.7]])
    matches = match(PRIORS, boxes, torch.zeros(2, dtype=torch.int64), 1, strategy="atss")
    outputs = tuple(
        torch.randn(1, len(PRIORS), n, generator=torch.Generator().manual_seed(2)) for n in (2, 4, 10)
    )
    landmarks = torch.rand(2, 10)
    chosen = {"box": loss, "classification": "quality", "matching": "atss"}
    both = multitask_loss(outputs, PRIORS, boxes, landmarks, matches, LossSettings(**chosen, balance=1.0))
    alone = []
    for face in range(2):
        only = Matches(torch.where(matches.face == face, matches.face, -1))
        alone.append(multitask_loss(outputs, PRIORS, boxes, landmarks, only, LossSettings(**chosen)).box)
    counts = [(matches.face == face).sum() for face in range(2)]
    assert counts[0] > counts[1]
    assert both.box == pytest.approx(float(sum(alone) / 2), rel=1e-5)
    plain = multitask_loss(outputs, PRIORS, boxes, landmarks, matches, LossSettings(**chosen)).box
    assert plain == pytest.approx(
        float((alone[0] * counts[0] + alone[1] * counts[1]) / sum(counts)), rel=1e-5
    )


@pytest.mark.parametrize("strategy", ["iou", "atss"])
def test_priors_in_an_ignored_region_count_for_nothing_unless_they_find_a_face(strategy):
    boxes, region = torch.tensor([[20.0, 20, 52, 52]]), torch.tensor([[16.0, 16, 96, 96]])
    owners = torch.tensor([1])
    plain = match(PRIORS, boxes, owners, 2, strategy=strategy)
    masked = match(PRIORS, boxes, owners, 2, strategy=strategy, ignored=region, ignored_owners=owners)
    assert torch.equal(plain.positive, masked.positive)
    assert torch.equal(plain.face[0], masked.face[0]), "another image's region"
    inside = ((PRIORS[:, :2] > 16) & (PRIORS[:, :2] < 96)).all(1)
    assert not masked.negative[1, inside].any()
    assert masked.negative[1].any()


def test_quality_is_taught_as_confidence():
    boxes, owners = torch.tensor([[20.0, 20, 52, 52]]), torch.tensor([0])
    matches = match(PRIORS, boxes, owners, 1)
    logits, encoded, landmarks = perfect_outputs(boxes, torch.rand(1, 10), matches)
    encoded = encoded + torch.tensor([0.0, 0, -2, -2])
    half = decode_boxes(encoded[matches.positive], PRIORS[matches.positive[0]])
    quality = [overlap(box, boxes[0].tolist())[0] for box in half.tolist()]
    exact = logits.clone()
    exact[matches.positive] = torch.tensor([[0.0, float(np.log(q / (1 - q)))] for q in quality])
    chosen = LossSettings(classification="quality")
    arguments = (PRIORS, boxes, torch.rand(1, 10), matches, chosen)
    fitting = multitask_loss((exact, encoded, landmarks), *arguments).classification
    assert fitting < 1e-4
    assert multitask_loss((logits, encoded, landmarks), *arguments).classification > fitting


def test_a_teacher_can_not_see_less_than_nothing_of_the_crops():
    with pytest.raises(ValueError, match="enlarge of at least 1, got 0"):
        DistillationSettings(enlarge=0)


@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_an_ignored_region_covers_what_lies_in_it_or_is_like_it(seed, count):
    regions, owners = random_faces(seed, count)
    none = torch.zeros(0, 4)
    matches = match(PRIORS, none, owners[:0], 3, ignored=regions, ignored_owners=owners)
    for image in range(3):
        mine = [r for r, owner in zip(regions.tolist(), owners.tolist(), strict=True) if owner == image]
        for (x, y, w, h), face in zip(PRIORS.tolist(), matches.face[image].tolist(), strict=True):
            corners = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
            near = [overlap(region, corners)[0] for region in mine]
            inside = any(r[0] < x < r[2] and r[1] < y < r[3] for r in mine)
            if not any(abs(iou - 0.2) < 1e-4 for iou in near):
                assert (face == -2) == (inside or any(iou >= 0.2 for iou in near))
