"""Shifted class heads: exactly the margins move, and fitted shifts put faces before what is none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from featherface.nms import non_maximum_suppression  # noqa: E402
from featherface.priors import make_priors  # noqa: E402
from featherface_training.average import average  # noqa: E402
from featherface_training.checkpoint import CheckpointError, load_model, stages, write  # noqa: E402
from featherface_training.config import TrainSettings  # noqa: E402
from featherface_training.evaluation.detectors import Candidates  # noqa: E402
from featherface_training.evaluation.fit import by_height  # noqa: E402
from featherface_training.models.featherface import build_model  # noqa: E402
from featherface_training.shift import SIDES, Shiftable, fit_shifts, main, shift  # noqa: E402
from featherface_training.train import Trainer  # noqa: E402

NONE = dict.fromkeys(SIDES, 0.0)
SOME = {16: -0.3, 32: 0.0, 64: 0.6, 128: 0.45, 256: 0.15, 512: -0.15}


@pytest.fixture(params=["v1", "nano"])
def checkpoint(request, tmp_path):
    torch.manual_seed(4)
    model = build_model(request.param)
    for head in model.heads:
        torch.nn.init.normal_(head.classification.bias)
    settings = TrainSettings(model=request.param)
    path = tmp_path / "last.pt"
    write(
        {
            "model": model.name,
            "settings": settings.to_dict(),
            "step": 7,
            "average": [{"stage": 1, "weight": 1.0}],
            "history": [{"settings": settings.to_dict(), "steps": 5}],
            "model_state_dict": model.state_dict(),
        },
        path,
    )
    return path


def test_each_side_moves_by_its_shift_and_nothing_else_moves(checkpoint, tmp_path):
    shift(checkpoint, tmp_path / "shifted.pt", SOME)
    photo = torch.rand(1, 3, 64, 96) * 200 - 100
    with torch.no_grad():
        before, after = (load_model(path)[0](photo) for path in (checkpoint, tmp_path / "shifted.pt"))
    margins = [(classes[0, :, 1] - classes[0, :, 0]).numpy() for classes, *_ in (before, after)]
    expected = [SOME[int(side)] for side in make_priors(64, 96)[:, 2]]
    np.testing.assert_allclose(margins[1] - margins[0], expected, atol=1e-5)
    # what both logits have in common says nothing, and stays, too
    torch.testing.assert_close(after[0].sum(-1), before[0].sum(-1))
    for one, other in zip(before[1:], after[1:], strict=True):
        assert torch.equal(one, other)


def test_the_checkpoint_tells_of_its_shifts_and_is_not_shifted_twice(checkpoint, tmp_path):
    shift(checkpoint, tmp_path / "shifted.pt", SOME)
    told, before = (stages(load_model(path)[1]) for path in (tmp_path / "shifted.pt", checkpoint))
    assert told == [*before[:-1], {**before[-1], "shifts": {str(side): SOME[side] for side in SIDES}}]
    with pytest.raises(CheckpointError, match="shifted already"):
        shift(tmp_path / "shifted.pt", tmp_path / "again.pt", SOME)
    assert not (tmp_path / "again.pt").exists()


def test_a_mean_would_not_tell_of_shifts(checkpoint, tmp_path):
    shift(checkpoint, tmp_path / "shifted.pt", SOME)
    with pytest.raises(CheckpointError, match="shift the mean"):
        average(tmp_path / "mean.pt", tmp_path / "shifted.pt", [(checkpoint, 0.5)])
    assert not (tmp_path / "mean.pt").exists()


@st.composite
def candidates(draw):
    count = draw(st.integers(0, 12))
    number = st.floats(0, 90, allow_nan=False, width=32)
    rows = [[draw(number) for _ in range(4)] for _ in range(count)]
    corners = np.array([[x, y, x + 5 + w, y + 5 + h] for x, y, w, h in rows], float).reshape(-1, 4)
    # no two alike: of equals, either may stay
    margins = np.array(draw(st.permutations(range(count))), float) / 3 - 2
    sides = np.array([draw(st.sampled_from(SIDES)) for _ in range(count)], int)
    return Candidates(corners, margins, sides)


@given(candidates(), st.lists(st.floats(-1, 1).map(lambda x: round(x, 3) + 1e-4), min_size=6, max_size=6))
def test_suppression_is_that_of_the_package(found, values):
    shifts = dict(zip(SIDES, values, strict=True))
    margins = found.margins + [shifts[int(side)] for side in found.sides]
    scores = 1 / (1 + np.exp(-margins))
    above = scores >= 0.02
    corners, scores = found.corners[above], scores[above]
    best = non_maximum_suppression(corners, scores, 0.4)
    expected = np.column_stack(
        [corners[best, :2], corners[best, 2:] - corners[best, :2], scores[best].reshape(-1, 1)]
    )
    if len(set(scores.round(9))) == len(scores):
        np.testing.assert_allclose(Shiftable(found).detections(shifts), expected, atol=1e-9)


def scene(face_margin, alarm_margin):
    """Return a large face, a small one and a small false alarm, and the truth about them."""
    corners = np.array([[10, 10, 130, 130], [200, 10, 216, 26], [200, 200, 216, 216]], float)
    found = Candidates(corners, np.array([face_margin, 3.0, alarm_margin]), np.array([128, 16, 16]))
    return Shiftable(found), by_height(np.array([[10, 10, 120, 120], [200, 10, 16, 16]], float))


def test_fitted_shifts_put_large_faces_before_small_false_alarms():
    scenes = {f"{i}": scene(1.0 + i / 10, 1.3 + i / 10) for i in range(4)}
    found = {name: one for name, (one, _) in scenes.items()}
    truth = {name: known for name, (_, known) in scenes.items()}
    steps = list(fit_shifts(found, truth, (1, 1, 1)))
    assert steps[0][0] == NONE
    sums = [sum(precisions) for _, precisions in steps]
    assert sums == sorted(sums)
    assert sums[0] < 2.9
    shifts, precisions = steps[-1]
    assert precisions == [1.0, 1.0, 1.0]
    assert shifts[128] - shifts[16] > 0.5
    assert shifts[32] == 0


def test_what_cannot_be_better_is_not_shifted():
    found, truth = scene(4.0, 0.0)
    assert list(fit_shifts({"a": found}, {"a": truth}, (1, 1, 1))) == [(NONE, [1.0, 1.0, 1.0])]


def test_the_command_fits_on_labelled_photos_and_runs_go_on_from_what_it_writes(
    wider, mixture, tmp_path, caplog
):
    settings = TrainSettings(model="nano", batch=4, sizes=(64,), steps=1, warmup_steps=1, bf16=False)
    Trainer(settings, mixture, tmp_path / "run", torch.device("cpu")).run()
    root, labels = wider
    output = tmp_path / "new" / "shifted.pt"
    with caplog.at_level("INFO"):
        photos = ["--wider", str(root), "--labels", str(labels), "--photos", "3"]
        main([str(tmp_path / "run" / "last.pt"), str(output), *photos, "--threads", "1"])
    assert caplog.messages[0].startswith("easy / medium / hard ")
    assert caplog.messages[0].endswith(", ".join(f"{side}: +0.00" for side in SIDES))
    told = stages(load_model(output)[1])
    assert set(told[-1]["shifts"]) == {str(side) for side in SIDES}
    Trainer(settings, mixture, tmp_path / "next", torch.device("cpu"), start=output).run()
    assert load_model(tmp_path / "next" / "last.pt")[1]["history"] == told
