"""Class heads fitted to average precision: what competes, how it is counted, and what is changed by it."""

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
from featherface_training.evaluation.fit import by_height  # noqa: E402
from featherface_training.evaluation.protocol import DIFFICULTIES, evaluate  # noqa: E402
from featherface_training.models.featherface import build_model  # noqa: E402
from featherface_training.ranking.candidates import Candidates, open_candidates  # noqa: E402
from featherface_training.ranking.cli import main  # noqa: E402
from featherface_training.ranking.fit import Change, FitSettings, fit  # noqa: E402
from featherface_training.ranking.groups import SIDES, group, join  # noqa: E402
from featherface_training.ranking.heads import change_heads  # noqa: E402
from featherface_training.ranking.precision import smooth_average_precision  # noqa: E402
from featherface_training.train import Trainer  # noqa: E402

TOLD = {"photos": 3, "sizes": ["original", 640]}


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


def a_change(checkpoint):
    model = load_model(checkpoint)[0]
    channels = model.heads[0].classification.in_channels
    random = torch.Generator().manual_seed(5)
    return Change(torch.randn(6, channels, generator=random), torch.randn(6, generator=random))


def random():
    return np.random.default_rng(0)


def test_margins_change_by_what_was_fitted_and_nothing_else_changes(checkpoint, tmp_path):
    change = a_change(checkpoint)
    change_heads(checkpoint, tmp_path / "ranked.pt", change, TOLD)
    photo = torch.rand(1, 3, 64, 96) * 200 - 100
    model = load_model(checkpoint)[0]
    seen = []
    for head in model.heads:
        head.classification.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0][0]))
    with torch.no_grad():
        before, after = model(photo), load_model(tmp_path / "ranked.pt")[0](photo)
    cells = torch.cat([level.flatten(1).T for level in seen]).repeat_interleave(2, 0)
    sides = np.searchsorted(SIDES, make_priors(64, 96)[:, 2].astype(int))
    expected = (cells * change.weights[sides]).sum(1) + change.biases[sides]
    margins = [classes[0, :, 1] - classes[0, :, 0] for classes, *_ in (before, after)]
    torch.testing.assert_close(margins[1] - margins[0], expected, atol=1e-4, rtol=1e-4)
    # what both logits have in common says nothing, and stays, too
    torch.testing.assert_close(after[0].sum(-1), before[0].sum(-1), atol=1e-4, rtol=1e-4)
    for one, other in zip(before[1:], after[1:], strict=True):
        assert torch.equal(one, other)


def test_the_checkpoint_tells_of_the_fit_and_is_not_fitted_twice(checkpoint, tmp_path):
    change = a_change(checkpoint)
    change_heads(checkpoint, tmp_path / "ranked.pt", change, TOLD)
    told, before = (stages(load_model(path)[1]) for path in (tmp_path / "ranked.pt", checkpoint))
    assert told == [*before[:-1], {**before[-1], "ranking": TOLD}]
    with pytest.raises(CheckpointError, match="fitted already"):
        change_heads(tmp_path / "ranked.pt", tmp_path / "again.pt", change, TOLD)
    assert not (tmp_path / "again.pt").exists()


def test_a_mean_would_not_tell_of_fitted_heads(checkpoint, tmp_path):
    change_heads(checkpoint, tmp_path / "ranked.pt", a_change(checkpoint), TOLD)
    with pytest.raises(CheckpointError, match="fit those of the mean"):
        average(tmp_path / "mean.pt", tmp_path / "ranked.pt", [(checkpoint, 0.5)])
    assert not (tmp_path / "mean.pt").exists()


def test_candidates_come_with_what_the_class_head_saw(checkpoint, wider):
    root, _ = wider
    photo = next(root.rglob("0.jpg")).read_bytes()
    found = open_candidates(checkpoint, 64, least=-np.inf, threads=1)(photo)
    assert (np.diff(found.margins) <= 0).all()
    model = load_model(checkpoint)[0]
    kinds = np.searchsorted(SIDES, found.sides)
    for level, head in enumerate(model.heads):
        weight = head.classification.weight.detach()[:, :, 0, 0].numpy()
        bias = head.classification.bias.detach().numpy()
        for prior in (0, 1):
            here = kinds == 2 * level + prior
            logits = found.features[here].astype(np.float32) @ weight.T + bias
            margins = logits[:, 2 * prior + 1] - logits[:, 2 * prior]
            np.testing.assert_allclose(margins, found.margins[here], atol=0.02)


@st.composite
def candidates(draw):
    count = draw(st.integers(0, 12))
    number = st.floats(0, 90, allow_nan=False, width=32)
    rows = [[draw(number) for _ in range(4)] for _ in range(count)]
    corners = np.array([[x, y, x + 5 + w, y + 5 + h] for x, y, w, h in rows], float).reshape(-1, 4)
    # no two alike: of equals, either may stay; and none so weak that others stand for it
    margins = np.arange(count, 0, -1, dtype=np.float32) / 3
    sides = np.array([draw(st.sampled_from(SIDES)) for _ in range(count)], int)
    return Candidates(corners, margins, sides, np.zeros((count, 2), np.float16))


boxes = st.lists(st.tuples(*[st.floats(1, 90, width=32)] * 4), min_size=1, max_size=5).map(
    lambda rows: np.array([[x, y, width + 5, height + 5] for x, y, width, height in rows])
)


@given(candidates(), boxes)
def test_the_best_of_each_group_are_what_suppression_keeps_and_the_protocol_counts(found, faces):
    truth = by_height(faces)
    groups = group(found, truth, random())
    kept = non_maximum_suppression(found.corners, found.margins, 0.4)
    first = np.unique(groups.owners, return_index=True)[1]
    np.testing.assert_array_equal(groups.margins[first], found.margins[kept])
    corners = found.corners[kept]
    detections = np.column_stack([corners[:, :2], corners[:, 2:] - corners[:, :2], found.margins[kept]])
    curves = evaluate({"a": detections}, {"a": truth})
    labels = groups.labels[first]
    for i, level in enumerate(DIFFICULTIES):
        assert groups.faces[i] == truth.counted[level].sum()
        if len(kept):
            assert (labels[:, i] == 1).sum() == round(curves[level].recall[-1] * max(groups.faces[i], 1))
            if (labels[:, i] >= 0).any():
                precision = (labels[:, i] == 1).sum() / (labels[:, i] >= 0).sum()
                assert precision == pytest.approx(curves[level].precision[-1])


def test_a_photo_without_faces_counts_for_nothing():
    found = Candidates(np.array([[0, 0, 9, 9.0]]), np.ones(1, np.float32), np.array([16]), np.zeros((1, 2)))
    groups = group(found, by_height(np.zeros((0, 4))), random())
    assert len(groups.weights) == len(groups.margins) == groups.faces.sum() == 0


def test_a_group_keeps_who_could_be_its_best_and_knows_who_would_be_right():
    # three on a face of 40 px, the best one beside it, the last one out of reach; and one elsewhere
    corners = np.array([[14, 0, 54, 40], [2, 0, 42, 40], [0, 0, 40, 40], [100, 100, 140, 140]], float)
    margins = np.array([2.0, 1.0, -2.0, 0.5], np.float32)
    order = np.argsort(-margins)
    found = Candidates(corners[order], margins[order], np.full(4, 32), np.zeros((4, 2), np.float16))
    groups = group(found, by_height(np.array([[0, 0, 40, 40.0]])), random())
    assert groups.owners.tolist() == [0, 0, 1]
    assert groups.margins.tolist() == [2.0, 1.0, 0.5]
    # of 40 px: medium and hard
    assert groups.labels.tolist() == [[0, 0, 0], [-1, 1, 1], [0, 0, 0]]


def test_weak_false_alarms_are_few_and_stand_for_all():
    count = 4000
    corners = np.array([[x * 20, 0, x * 20 + 10, 10] for x in range(count)], float) + 50
    found = Candidates(
        corners, np.full(count, -2.0, np.float32), np.full(count, 16), np.zeros((count, 2), np.float16)
    )
    groups = group(found, by_height(np.array([[0, 0, 12, 12.0]])), random())
    assert len(groups.weights) < count / 5
    assert groups.weights.sum() == pytest.approx(count, rel=0.1)


def exact(margins, right, faces):
    """Average precision of one list by its definition."""
    ordered = right[np.argsort(-margins)]
    precision = ordered.cumsum() / np.arange(1, len(ordered) + 1)
    return (precision * ordered).sum() / faces


@pytest.mark.parametrize("seed", range(5))
def test_smooth_average_precision_is_near_the_exact_one(seed):
    random = np.random.default_rng(seed)
    right = random.random(4000) < random.uniform(0.1, 0.9)
    margins = random.normal(np.where(right, 1.5, -0.5), 1.2).clip(-4.5, 7.5).astype(np.float32)
    neither = random.random(4000) < 0.2
    labels = np.where(neither, -1, right)[:, None].astype(np.int8)
    faces = right.sum() * 1.1
    smooth = smooth_average_precision(
        torch.from_numpy(margins), torch.from_numpy(labels), torch.ones(4000), torch.tensor([faces])
    )
    assert smooth.item() == pytest.approx(exact(margins[~neither], right[~neither], faces), abs=0.005)


def test_one_that_stands_for_others_counts_as_often():
    margins, labels = torch.tensor([2.0, 1.0, 0.0]), torch.tensor([[1], [0], [1]])
    twice = smooth_average_precision(margins, labels, torch.tensor([1.0, 2.0, 1.0]), torch.tensor([2.0]))
    apart = smooth_average_precision(
        torch.tensor([2.0, 1.0, 1.0, 0.0]),
        torch.tensor([[1], [0], [0], [1]]),
        torch.ones(4),
        torch.tensor([2.0]),
    )
    assert twice.item() == pytest.approx(apart.item())


def test_the_gradient_raises_faces_and_lowers_false_alarms():
    random = np.random.default_rng(1)
    labels = (random.random(400) < 0.5).astype(np.int8)
    margins = torch.tensor(random.normal(labels, 1.0), dtype=torch.float32, requires_grad=True)
    smooth_average_precision(
        margins, torch.from_numpy(labels)[:, None], torch.ones(400), torch.tensor([200.0])
    ).sum().backward()
    rises = margins.grad.numpy()
    assert rises[labels == 1].mean() > 0 > rises[labels == 0].mean()


def scenes(seed, informative):
    """Return one list: large faces that stand behind small false alarms, which a feature tells, or none."""
    random = np.random.default_rng(seed)
    parts = []
    for _ in range(40):
        corners = np.array([[200, 10, 216, 26], [10, 10, 130, 130], [300, 10, 420, 130]], float)
        margins = random.normal([1.5, 0.9, 0.9], 0.1).astype(np.float32)
        order = np.argsort(-margins)
        features = random.normal(0, 1, (3, 4))
        if informative:
            features[:, 0] += [0, 3, -3]
        sides = np.array([16, 128, 128])
        found = Candidates(*(part[order] for part in (corners, margins, sides, features.astype(np.float16))))
        truth = by_height(np.array([[10, 10, 120, 120], [600, 10, 16, 16]], float))
        parts.append(group(found, truth, random))
    return join(parts)


def test_heads_learn_which_side_and_which_feature_stands_first():
    reached = {}
    for informative in (False, True):
        told = []
        seen, apart = scenes(1, informative), scenes(2, informative)
        change = fit([seen], FitSettings(), held_out=[apart], tell=lambda *one, told=told: told.append(one))
        assert [step for step, *_ in told] == [0, FitSettings().steps]
        (_, before, _), (_, after, unseen) = told
        assert after.shape == unseen.shape == (1, 3)
        assert after.sum() > before.sum() + 0.3
        reached[informative] = unseen[0, 0].item()
    assert reached[True] > 0.99 > reached[False] + 0.1
    side = SIDES.index(128)
    assert change.weights[side].abs().argmax() == 0
    assert change.weights[side, 0] > 0
    # priors that no photo showed stay as they are
    unseen = [i for i in range(len(SIDES)) if SIDES[i] not in (16, 128)]
    assert not change.weights[unseen].any()
    assert not change.biases[unseen].any()


def test_a_higher_ridge_changes_less():
    changes = [
        fit([scenes(1, True)], FitSettings(ridge=ridge, steps=40)).weights.norm() for ridge in (0.02, 20.0)
    ]
    assert changes[1] < changes[0] / 2


def test_the_command_fits_on_labelled_photos_and_runs_go_on_from_what_it_writes(
    wider, mixture, tmp_path, caplog
):
    settings = TrainSettings(model="nano", batch=4, sizes=(64,), steps=1, warmup_steps=1, bf16=False)
    Trainer(settings, mixture, tmp_path / "run", torch.device("cpu")).run()
    root, labels = wider
    output = tmp_path / "new" / "ranked.pt"
    with caplog.at_level("INFO"):
        options = ["--wider", str(root), "--labels", str(labels), "--photos", "4", "--held-out", "0.5"]
        options += ["--size", "original", "--size", "96", "--steps", "2", "--threads", "1"]
        main([str(tmp_path / "run" / "last.pt"), str(output), *options])
    lines = [message.rpartition(":")[0] for message in caplog.messages]
    assert lines[:4] == [
        f"step 0, size {size}, {part}" for part in ("fitted", "held out") for size in ("original", 96)
    ]
    assert lines[4] == "step 2, size original, fitted"
    told = stages(load_model(output)[1])
    assert told[-1]["ranking"]["sizes"] == ["original", 96]
    assert told[-1]["ranking"]["photos"] == 4
    Trainer(settings, mixture, tmp_path / "next", torch.device("cpu"), start=output).run()
    assert load_model(tmp_path / "next" / "last.pt")[1]["history"] == told
