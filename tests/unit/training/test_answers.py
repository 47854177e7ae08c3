"""Confidence learned from another detector's answers: who is heard where, and which way it pulls."""

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from featherface_training.losses.answers import Detections, answers_loss  # noqa: E402
from featherface_training.losses.distillation import DistillationSettings  # noqa: E402
from featherface_training.losses.matching import Matches  # noqa: E402

FACE = [10.0, 10.0, 30.0, 30.0]
# overlaps FACE by two thirds: it is of the same face, but lies beside it
BESIDE = [14.0, 10.0, 34.0, 30.0]
ELSEWHERE = [100.0, 100.0, 120.0, 120.0]
NO_FACES = (torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
ONE_FACE = (torch.tensor([FACE]), torch.tensor([0]))


def found(*boxes, score=0.9):
    return [Detections(torch.tensor(boxes).reshape(-1, 4), torch.full((len(boxes),), score))]


def pulls(boxes, margins, detections, of_large=None, *, faces=NO_FACES, matched=(), unknown=True, **settings):
    """Return the loss, and how it moves the margin of each box: up is above 0."""
    margin = torch.tensor([margins], requires_grad=True)
    logits = torch.stack([torch.zeros_like(margin), margin], -1)
    outputs = (logits, torch.zeros(1, len(boxes), 4), torch.zeros(1, len(boxes), 10))
    other = -2 if unknown else -1
    matches = Matches(torch.tensor([[0 if i in matched else other for i in range(len(boxes))]]))
    loss = answers_loss(
        outputs,
        torch.tensor([boxes]),
        detections,
        matches,
        *faces,
        DistillationSettings(**{"temperature": 1.0, **settings}),
        of_large,
    )
    loss.backward()
    return loss.item(), (-margin.grad[0]).tolist()


@given(score=st.floats(0.06, 0.94), temperature=st.sampled_from([1.0, 2.0, 4.0]))
def test_who_believes_as_much_as_the_detector_has_nothing_to_learn(score, temperature):
    margin = torch.logit(torch.tensor(score)).item()
    loss, (pull,) = pulls([FACE], [margin], found(FACE, score=score), temperature=temperature)
    assert loss == pytest.approx(0, abs=1e-5)
    assert pull == pytest.approx(0, abs=1e-4)


@given(score=st.floats(0.06, 0.94), belief=st.floats(0.03, 0.97))
def test_a_box_is_pulled_towards_the_detectors_confidence(score, belief):
    margin = torch.logit(torch.tensor(belief)).item()
    loss, (pull,) = pulls([FACE], [margin], found(FACE, score=score))
    assert loss >= -1e-6
    assert pull * (score - belief) >= 0


def test_what_the_detector_does_not_find_is_a_false_alarm():
    _, (pull,) = pulls([FACE], [1.0], found())
    assert pull < 0
    _, (pull,) = pulls([FACE], [1.0], found(ELSEWHERE))
    assert pull < 0


def test_where_the_labels_know_of_no_face_the_detector_may_be_let_doubt_one_alone():
    _, (pull,) = pulls([FACE], [1.0], found(FACE), unknown=False)
    assert pull > 0
    _, (pull,) = pulls([FACE], [1.0], found(FACE), unknown=False, answers_doubt=True)
    assert pull == 0
    _, (pull,) = pulls([FACE], [1.0], found(), unknown=False, answers_doubt=True)
    assert pull < 0


def test_a_face_in_an_ignored_region_is_learned_where_the_student_sees_it_too():
    believed, doubted = -2.0, -8.0
    _, (seen, unseen) = pulls([FACE, ELSEWHERE], [believed, doubted], found(FACE, ELSEWHERE))
    assert seen > 0
    assert unseen == 0


def test_a_face_that_nobody_believes_in_is_learned_where_it_is_labelled():
    _, (pull,) = pulls([FACE], [-8.0], found(FACE), faces=ONE_FACE, matched=[0])
    assert pull > 0


def test_a_labelled_face_that_the_detector_overlooks_stays_with_the_labels():
    loss, (pull,) = pulls([FACE], [1.0], found(), faces=ONE_FACE, matched=[0])
    assert loss == pull == 0


def test_which_prior_is_to_find_a_labelled_face_stays_with_the_labels():
    _, (matched, other) = pulls([FACE, FACE], [-1.0, -1.0], found(FACE), faces=ONE_FACE, matched=[0])
    assert matched > 0
    assert other == 0


def test_a_box_that_lies_beside_the_detection_is_to_be_less_sure():
    sure = torch.logit(torch.tensor(0.9)).item()
    _, (exact, beside) = pulls([FACE, BESIDE], [sure, sure], found(FACE))
    assert exact == pytest.approx(0, abs=1e-4)
    assert beside < 0


def test_of_boxes_too_large_for_it_the_detector_is_not_asked():
    _, (pull,) = pulls([FACE], [1.0], found(), answers_up_to=19)
    assert pull == 0
    _, (pull,) = pulls([FACE], [1.0], found(), answers_up_to=21)
    assert pull < 0


def test_of_large_boxes_another_detector_is_asked_and_where_both_are_their_mean_counts():
    def pulled(small_up_to, large_from):
        margin = torch.logit(torch.tensor(0.5)).item()
        sizes = {"answers_up_to": small_up_to, "large_answers_from": large_from}
        return pulls([FACE], [margin], found(FACE, score=0.3), found(FACE, score=0.7), **sizes)[1][0]

    assert pulled(30, 21) < 0
    assert pulled(19, 20) > 0
    assert pulled(20, 20) == pytest.approx(0, abs=1e-5)
    assert pulled(19, 21) == 0


def test_faces_of_another_image_do_not_matter():
    margin = torch.ones(2, 1, requires_grad=True)
    outputs = (
        torch.stack([torch.zeros_like(margin), margin], -1),
        torch.zeros(2, 1, 4),
        torch.zeros(2, 1, 10),
    )
    corners = torch.tensor([[FACE], [FACE]])
    matches = Matches(torch.tensor([[-1], [-1]]))
    faces = (torch.tensor([FACE]), torch.tensor([1]))
    answers_loss(outputs, corners, found() + found(), matches, *faces, DistillationSettings()).backward()
    # in the second image it lies beside a labelled face, which is another prior's
    assert margin.grad[0] > 0
    assert margin.grad[1] == 0
