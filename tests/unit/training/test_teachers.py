import numpy as np
import pytest

torch = pytest.importorskip("torch")

from featherface_training.checkpoint import save  # noqa: E402
from featherface_training.config import TrainSettings  # noqa: E402
from featherface_training.ema import AveragedModel  # noqa: E402
from featherface_training.losses.distillation import FeatureAdapter  # noqa: E402
from featherface_training.models import build_model  # noqa: E402
from featherface_training.teachers import Ensemble, RetinaFaceTeacher, TeacherError  # noqa: E402

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


def test_probabilities_become_logits_of_the_same_confidence(peers):
    logits, boxes, landmarks = RetinaFaceTeacher(peers.make("retinaface"))(IMAGES)
    assert boxes.shape[-1] == 4
    assert landmarks.shape[-1] == 10
    best = torch.softmax(logits, -1)[0, :, 1].max()
    assert best.item() == pytest.approx(0.9, abs=1e-4)


def test_another_network_can_not_teach(peers):
    with pytest.raises(TeacherError, match="expected boxes, classes and landmarks"):
        RetinaFaceTeacher(peers.make("scrfd"))


def test_an_ensemble_is_the_mean_of_its_teachers(peers, checkpoint):
    foreign = peers.make("retinaface")
    both, levels = Ensemble([checkpoint, foreign], CPU)(IMAGES)
    (own, own_levels), (other, no_levels) = (Ensemble([path], CPU)(IMAGES) for path in (checkpoint, foreign))
    assert no_levels is None
    assert [level.shape for level in levels] == [level.shape for level in own_levels]
    margins = [o[0][..., 1] - o[0][..., 0] for o in (both, own, other)]
    np.testing.assert_allclose(margins[0], (margins[1] + margins[2]) / 2, atol=1e-4)
    for i in (1, 2):
        np.testing.assert_allclose(both[i], (own[i] + other[i]) / 2, atol=1e-4)


def test_an_adapter_can_learn_a_linear_map_of_the_teachers_levels():
    torch.manual_seed(0)
    teacher = [torch.randn(2, 6, n, n) for n in (8, 4, 2)]
    student = [level[:, :6] * 2 + 1 for level in teacher]
    adapter = FeatureAdapter(6, 6)
    optimizer = torch.optim.Adam(adapter.parameters(), 0.05)
    first = adapter(student, teacher)
    for _ in range(150):
        loss = adapter(student, teacher)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.05 * first
