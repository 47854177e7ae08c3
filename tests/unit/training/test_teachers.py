import numpy as np
import pytest

torch = pytest.importorskip("torch")

from featherface.priors import mirror_order  # noqa: E402
from featherface_training.checkpoint import save  # noqa: E402
from featherface_training.config import TrainSettings  # noqa: E402
from featherface_training.data.augment import BGR_MEAN  # noqa: E402
from featherface_training.ema import AveragedModel  # noqa: E402
from featherface_training.losses.distillation import FeatureAdapter, focus_on_faces  # noqa: E402
from featherface_training.losses.matching import Matches  # noqa: E402
from featherface_training.models import build_model  # noqa: E402
from featherface_training.teachers import Ensemble, ForeignTeacher, TeacherError  # noqa: E402

CPU = torch.device("cpu")
IMAGES = torch.zeros(1, 3, 64, 64)


@pytest.fixture
def checkpoint(tmp_path):
    model = build_model("v1")
    path = tmp_path / "v1.pt"
    save(
        path,
        TrainSettings(model="v1"),
        1,
        model,
        AveragedModel(model, 0.9),
        torch.optim.SGD(model.parameters()),
    )
    return path


def pooled(images):
    return [torch.nn.functional.avg_pool2d(images, stride) for stride in (8, 16, 32)]


def test_probabilities_become_logits_of_the_same_confidence(peers):
    lesson = ForeignTeacher(peers.make("retinaface"))(IMAGES)
    logits, boxes, landmarks = lesson.outputs
    assert boxes.shape[-1] == 4
    assert landmarks.shape[-1] == 10
    best = torch.softmax(logits, -1)[0, :, 1].max()
    assert best.item() == pytest.approx(0.9, abs=1e-4)
    assert lesson.levels == [[]]
    assert lesson.found is None


def test_what_the_heads_of_another_network_see_are_its_levels(peers):
    images = torch.rand(2, 3, 64, 96) * 255 - 110
    teacher = ForeignTeacher(peers.make_with_levels("retinaface"))
    lesson = teacher(images)
    (levels,) = lesson.levels
    assert lesson.outputs is not None
    assert teacher.channels == 3
    for level, expected in zip(levels, pooled(images), strict=True):
        torch.testing.assert_close(level, expected, atol=1e-3, rtol=0)


def test_yunet_sees_pixels_as_they_are_and_teaches_its_levels_alone(peers):
    images = torch.rand(1, 3, 64, 64) * 255 - 110
    lesson = ForeignTeacher(peers.make_with_levels("yunet"))(images)
    (levels,) = lesson.levels
    assert lesson.outputs is lesson.found is None
    for level, expected in zip(levels, pooled(images + torch.tensor(BGR_MEAN).view(1, 3, 1, 1)), strict=True):
        torch.testing.assert_close(level, expected, atol=1e-3, rtol=0)


def test_what_a_teacher_sees_enlarged_is_folded_to_the_students_cells(peers):
    images = torch.rand(1, 3, 64, 96) * 255 - 110
    teacher = ForeignTeacher(peers.make_with_levels("yunet"), enlarge=2)
    (levels,) = teacher(images).levels
    assert teacher.channels == 3 * 4
    pixels = images + torch.tensor(BGR_MEAN).view(1, 3, 1, 1)
    doubled = torch.nn.functional.interpolate(pixels, scale_factor=2, mode="bilinear")
    for level, expected in zip(levels, pooled(doubled), strict=True):
        # of a cell's four, the third is its lower left
        torch.testing.assert_close(level[:, 6:9], expected[:, :, 1::2, 0::2], atol=1e-3, rtol=0)
    assert [level.shape[2:] for level in levels] == [(8, 12), (4, 6), (2, 3)]


def test_centerface_sees_rgb_at_its_own_scale_and_its_one_level_is_folded_to_three(peers):
    images = torch.rand(1, 3, 64, 96) * 255 - 110
    teacher = ForeignTeacher(peers.make_with_levels("centerface"), enlarge=2)
    lesson = teacher(images)
    (levels,) = lesson.levels
    assert lesson.outputs is None
    assert teacher.channels == 3 * 4
    rgb = (images + torch.tensor(BGR_MEAN).view(1, 3, 1, 1)).flip(1)
    for level, stride in zip(levels, (4, 8, 16), strict=True):
        # of a cell's four, the second is its upper right
        expected = torch.nn.functional.avg_pool2d(rgb, stride)[:, :, 0::2, 1::2]
        torch.testing.assert_close(level[:, 3:6], expected, atol=1e-3, rtol=0)
    assert [level.shape[2:] for level in levels] == [(8, 12), (4, 6), (2, 3)]


def test_answers_need_no_levels(peers):
    teacher = Ensemble([peers.make("yunet")], CPU, None, answers=True)
    assert teacher.channels == []
    lesson = teacher(IMAGES)
    assert lesson.levels == []
    np.testing.assert_allclose(lesson.found[0].boxes, [peers.box], atol=1e-3)


@pytest.mark.parametrize("times", [1, 2])
def test_yunet_tells_what_it_finds_in_each_image_in_its_pixels(peers, times):
    images = torch.rand(2, 3, 64 // times, 64 // times) * 255 - 110
    teacher = Ensemble([peers.make_with_levels("yunet")], CPU, "all", times, answers=True)
    lesson = teacher(images)
    assert lesson.outputs is None
    assert len(lesson.found) == 2
    for one in lesson.found:
        np.testing.assert_allclose(one.boxes, [peers.box / times], atol=1e-3)
        np.testing.assert_allclose(one.scores, [0.9], atol=1e-6)


def test_centerface_tells_what_it_finds_instead_of_its_level(peers):
    images = torch.rand(2, 3, 64, 64) * 255 - 110
    teacher = Ensemble(
        [peers.make_with_levels("yunet"), peers.make_with_levels("centerface")],
        CPU,
        "all",
        answers=True,
        large_answers=True,
    )
    assert teacher.channels == [3]
    lesson = teacher(images)
    assert lesson.outputs is None
    assert len(lesson.levels) == 1
    assert len(lesson.found) == len(lesson.found_large) == 2
    for one in lesson.found_large:
        np.testing.assert_allclose(one.boxes, [peers.box], atol=1e-3)
        # its 0.9 is worth more than YuNet's
        assert 0.9 < one.scores.item() < 1
    without = Ensemble([peers.make("yunet"), peers.make_with_levels("centerface")], CPU, "all", answers=True)
    assert without(images).found_large is None
    assert without.channels == [3 * 4]


def test_a_retinaface_that_is_asked_about_large_faces_teaches_nothing_else(peers):
    images = torch.rand(2, 3, 64, 64) * 255 - 110
    paths = [peers.make("yunet"), peers.make_with_levels("retinaface")]
    teacher = Ensemble(paths, CPU, "all", answers=True, large_answers=True)
    assert teacher.channels == []
    lesson = teacher(images)
    assert lesson.outputs is None
    for one in lesson.found_large:
        np.testing.assert_allclose(one.boxes, [peers.box], atol=1e-3)
        # its 0.9 is worth less than YuNet's
        assert 0.5 < one.scores.item() < 0.9


def test_who_is_asked_for_answers_must_be_able_to_give_them(peers, checkpoint):
    with pytest.raises(TeacherError, match="answers_weight needs YuNet"):
        Ensemble([checkpoint, peers.make_with_levels("centerface")], CPU, "all", answers=True)
    with pytest.raises(TeacherError, match="either CenterFace or a RetinaFace"):
        Ensemble([checkpoint, peers.make("yunet")], CPU, answers=True, large_answers=True)
    with pytest.raises(TeacherError, match="needs answers_weight"):
        Ensemble([checkpoint, peers.make("centerface")], CPU, large_answers=True)
    three = [peers.make(kind) for kind in ("yunet", "centerface", "retinaface")]
    with pytest.raises(TeacherError, match="leave one out"):
        Ensemble(three, CPU, answers=True, large_answers=True)


def test_a_teacher_with_the_students_priors_sees_what_the_student_sees(peers):
    one, two = (ForeignTeacher(peers.make_with_levels("retinaface"), enlarge=n)(IMAGES) for n in (1, 2))
    for level, other in zip(*one.levels, *two.levels, strict=True):
        torch.testing.assert_close(level, other)


@pytest.mark.parametrize("kind", ["scrfd", "yunet", "centerface"])
def test_a_network_without_priors_or_levels_can_not_teach(peers, kind):
    expected = "expected boxes, classes and landmarks of a RetinaFace, YuNet or CenterFace"
    with pytest.raises(TeacherError, match=expected):
        ForeignTeacher(peers.make(kind))


@pytest.mark.parametrize("kind", ["yunet", "centerface"])
@pytest.mark.parametrize("which", ["ours", None])
def test_those_without_priors_are_refused_where_nobody_asks_for_their_levels(peers, checkpoint, which, kind):
    with pytest.raises(TeacherError, match="got those of YuNet or CenterFace"):
        Ensemble([checkpoint, peers.make_with_levels(kind)], CPU, which)


def test_somebody_must_teach_the_outputs(peers):
    with pytest.raises(TeacherError, match="the student's priors"):
        Ensemble([peers.make_with_levels("yunet")], CPU, "all")


def test_an_ensemble_is_the_mean_of_its_teachers(peers, checkpoint):
    foreign = peers.make("retinaface")
    both = Ensemble([checkpoint, foreign], CPU)(IMAGES)
    own, other = (Ensemble([path], CPU)(IMAGES) for path in (checkpoint, foreign))
    assert both.levels == own.levels == other.levels == []
    margins = [o.outputs[0][..., 1] - o.outputs[0][..., 0] for o in (both, own, other)]
    np.testing.assert_allclose(margins[0], (margins[1] + margins[2]) / 2, atol=1e-4)
    for i in (1, 2):
        np.testing.assert_allclose(both.outputs[i], (own.outputs[i] + other.outputs[i]) / 2, atol=1e-4)


def test_with_two_looks_ours_say_of_a_mirrored_image_the_mirror_image_of_what_they_say(checkpoint):
    torch.manual_seed(3)
    images = torch.rand(2, 3, 64, 64) * 255 - 110
    teacher, one_look = Ensemble([checkpoint], CPU, "ours", mirror=True), Ensemble([checkpoint], CPU, "ours")
    said, of_mirrored = teacher(images), teacher(images.flip(-1))
    order = torch.from_numpy(mirror_order(64, 64).copy())
    there = [part[:, order] for part in of_mirrored.outputs]
    margins = [logits[..., 1] - logits[..., 0] for logits in (said.outputs[0], there[0])]
    torch.testing.assert_close(*margins)
    torch.testing.assert_close(said.outputs[1], there[1] * torch.tensor([-1.0, 1, 1, 1]))
    # eyes and corners of the mouth change places
    points = there[2].unflatten(-1, (5, 2))[..., [1, 0, 2, 4, 3], :] * torch.tensor([-1.0, 1])
    torch.testing.assert_close(said.outputs[2], points.flatten(-2))
    before = one_look(images)
    assert not torch.allclose(said.outputs[0], before.outputs[0])
    for ours, theirs in zip(said.levels[0], before.levels[0], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("which", "channels", "kinds"),
    [
        ("ours", [74], ["retinaface"]),
        ("others", [3, 3], ["retinaface", "yunet"]),
        ("all", [74, 3, 3], ["retinaface", "yunet"]),
    ],
)
def test_levels_come_from_those_teachers_that_the_settings_name(peers, checkpoint, which, channels, kinds):
    foreign = [peers.make_with_levels(kind) for kind in kinds]
    teacher = Ensemble([*foreign, checkpoint], CPU, which)
    assert teacher.channels == channels
    levels = teacher(IMAGES).levels
    assert [[level.shape[1] for level in one] for one in levels] == [[c] * 3 for c in channels]
    assert [level.shape[2:] for level in levels[-1]] == [(8, 8), (4, 4), (2, 2)]


def test_an_adapter_can_learn_a_linear_map_of_the_teachers_levels():
    torch.manual_seed(0)
    teacher = [torch.randn(2, 6, n, n) for n in (8, 4, 2)]
    student = [level[:, :6] * 2 + 1 for level in teacher]
    adapter = FeatureAdapter(6, [6, 5])
    optimizer = torch.optim.Adam(adapter.parameters(), 0.05)
    teachers = [teacher, [level[:, 1:] for level in teacher]]
    first = adapter(student, teachers)
    for _ in range(150):
        loss = adapter(student, teachers)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.05 * first


def test_the_distance_of_levels_has_the_gradients_of_its_formula():
    student, teacher = torch.randn(2, 4, 3, 3, dtype=torch.float64), torch.randn(2, 5, 3, 3)
    adapter = FeatureAdapter(4, [5], levels=1).double()
    for parameter in adapter.parameters():
        torch.nn.init.normal_(parameter)
    focus = torch.rand(2, 3, 3)

    def loss(own):
        return adapter([own], [[teacher]], [focus], 0.7)

    assert torch.autograd.gradcheck(loss, student.requires_grad_())
    distance = (adapter.teachers[0][0](student) - teacher).square().mean(1)
    expected = 0.3 * distance.mean() + 0.7 * (distance * focus).sum() / focus.sum()
    torch.testing.assert_close(loss(student), expected / teacher.var())


def test_a_student_hears_of_its_teachers_levels_when_the_adapter_has_learnt():
    student = [torch.randn(1, 4, n, n, requires_grad=True) for n in (4, 2, 1)]
    teacher = [torch.randn(1, 5, n, n) for n in (4, 2, 1)]
    adapter = FeatureAdapter(4, [5])
    adapter(student, [teacher]).backward()
    assert not student[0].grad.any()
    assert adapter.teachers[0][0].weight.grad.any()


def test_focus_is_where_labels_teacher_or_student_have_a_face():
    levels = [torch.zeros(1, 4, n, n) for n in (4, 2, 1)]
    priors = 2 * (16 + 4 + 1)

    def outputs(prior):
        logits = torch.zeros(1, priors, 2)
        logits[..., 1] = -20
        logits[0, prior, 1] = 20
        return logits, torch.zeros(1, priors, 4), torch.zeros(1, priors, 10)

    face = torch.full((1, priors), -1)
    face[0, 2 * 16 + 2 * 3 + 1] = 0
    focus = focus_on_faces(outputs(2 * 6), outputs(2 * 20 + 1), Matches(face), levels)
    assert [f.shape for f in focus] == [(1, 4, 4), (1, 2, 2), (1, 1, 1)]
    expected = [torch.zeros_like(f) for f in focus]
    expected[0][0, 1, 2] = expected[1][0, 1, 1] = expected[2][0, 0, 0] = 1
    for found, wanted in zip(focus, expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)


def test_distance_counts_where_the_focus_is():
    student = [torch.zeros(1, 4, n, n) for n in (4, 2, 1)]
    teacher = [torch.zeros(1, 5, n, n) for n in (4, 2, 1)]
    teacher[0][0, :, 1, 2] = 3
    adapter = FeatureAdapter(4, [5])
    beside, there = ([torch.zeros(1, n, n) for n in (4, 2, 1)] for _ in range(2))
    beside[0][0, 0, 0] = there[0][0, 1, 2] = 1
    everywhere = adapter(student, [teacher])
    assert adapter(student, [teacher], beside, 1.0) == 0
    assert adapter(student, [teacher], there, 1.0).item() == pytest.approx(16 * everywhere.item())
    assert adapter(student, [teacher], there, 0.5).item() == pytest.approx(8.5 * everywhere.item())
