"""Layers fitted to average precision: what competes, how it is counted, and what is changed by it."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")


from featherface.nms import non_maximum_suppression  # noqa: E402
from featherface.packages import find_models_folder  # noqa: E402
from featherface.priors import make_priors  # noqa: E402
from featherface_training.average import average  # noqa: E402
from featherface_training.checkpoint import CheckpointError, load_model, stages, write  # noqa: E402
from featherface_training.config import TrainSettings  # noqa: E402
from featherface_training.evaluation.ground_truth import by_height  # noqa: E402
from featherface_training.evaluation.protocol import DIFFICULTIES, evaluate  # noqa: E402
from featherface_training.losses.average_precision import smooth_average_precision  # noqa: E402
from featherface_training.models.featherface import build_model  # noqa: E402
from featherface_training.ranking.candidates import Candidates, open_candidates  # noqa: E402
from featherface_training.ranking.cli import main  # noqa: E402
from featherface_training.ranking.fit import FitSettings, fit  # noqa: E402
from featherface_training.ranking.groups import SIDES, group, join, weigh  # noqa: E402
from featherface_training.ranking.others import other_photos  # noqa: E402
from featherface_training.ranking.tail import tails  # noqa: E402
from featherface_training.trainer import Trainer  # noqa: E402


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


def random():
    return np.random.default_rng(0)


def candidates_of(corners, margins, sides, cells=None, maps=None):
    """Return candidates that see their own margins, a cell each, unless told what."""
    cells = np.arange(len(margins)) if cells is None else cells
    maps = [np.array(margins, np.float32).reshape(1, 1, -1)] * 3 if maps is None else maps
    return Candidates(
        np.asarray(corners, float), np.asarray(margins, np.float32), np.asarray(sides), cells, maps
    )


def seen_at(groups):
    """Return what `candidates_of` let each candidate see in its own cell: its margin."""
    return groups.patches[:, 4]


@pytest.mark.parametrize("name", ["v1_baseline/featherface_v1.pth", "nano_efficient/featherface_nano.pth"])
def test_a_model_is_what_its_tails_compute_from_what_they_see(name, wider):
    root, _ = wider
    photo = next(root.rglob("2.jpg")).read_bytes()
    model = load_model(find_models_folder() / name)[0]
    found = open_candidates(model, least=-np.inf, threads=1)(photo, 64)
    assert len(found.margins) == len(make_priors(64, 64))
    assert np.ptp(found.margins) > 2
    assert (np.diff(found.margins) <= 0).all()
    rows = np.arange(len(found.margins))
    patches = torch.from_numpy(found.patches(rows)).float()
    kinds = np.searchsorted(SIDES, found.sides)
    for level, tail in enumerate(tails(model)):
        here = kinds // 2 == level
        shape = (-1, tail.convolution.in_channels, 3, 3)
        with torch.no_grad():
            made = tail.normalisation(torch.conv2d(patches[here].view(shape), tail.convolution.weight))
            classes = tail.head.classification(made.relu()[:, tail.order])[:, :, 0, 0]
        margins = (classes[:, 1::2] - classes[:, 0::2])[np.arange(here.sum()), kinds[here] % 2]
        np.testing.assert_allclose(margins.numpy(), found.margins[here], atol=0.03)


@pytest.mark.parametrize("size", ["original", 224])
def test_a_photo_shown_mirrored_has_the_candidates_of_its_mirror_image_where_they_are(wider, size):
    root, _ = wider
    photo = next(root.rglob("2.jpg"))

    def lossless(pixels):
        return cv2.imencode(".png", pixels)[1].tobytes()

    # 300 px fill no bucket: the padding must stay beside the photo
    pixels = cv2.imread(str(photo))[:200, :300]
    model = load_model(find_models_folder() / "nano_efficient" / "featherface_nano.pth")[0]
    detect = open_candidates(model, least=-6.0, threads=1)
    shown, other = detect(lossless(pixels), size, True), detect(lossless(pixels[:, ::-1]), size, False)
    assert len(shown.margins) > 3
    np.testing.assert_allclose(shown.margins, other.margins, atol=1e-4)
    turned = other.corners[:, [2, 1, 0, 3]]
    turned[:, [0, 2]] = 300 - turned[:, [0, 2]]
    np.testing.assert_allclose(shown.corners, turned, atol=0.01)
    rows = np.arange(len(shown.margins))
    np.testing.assert_allclose(shown.patches(rows), other.patches(rows), atol=0.01)


@st.composite
def candidates(draw):
    count = draw(st.integers(0, 12))
    number = st.floats(0, 90, allow_nan=False, width=32)
    rows = [[draw(number) for _ in range(4)] for _ in range(count)]
    corners = np.array([[x, y, x + 5 + w, y + 5 + h] for x, y, w, h in rows], float).reshape(-1, 4)
    # no two alike: of equals, either may stay; and none so weak that others stand for it
    margins = np.arange(count, 0, -1, dtype=np.float32) / 3
    sides = np.array([draw(st.sampled_from(SIDES)) for _ in range(count)], int)
    return candidates_of(corners, margins, sides)


boxes = st.lists(st.tuples(*[st.floats(1, 90, width=32)] * 4), min_size=1, max_size=5).map(
    lambda rows: np.array([[x, y, width + 5, height + 5] for x, y, width, height in rows])
)


@given(candidates(), boxes)
def test_the_best_of_each_group_are_what_suppression_keeps_and_the_protocol_counts(found, faces):
    truth = by_height(faces)
    groups = group(found, truth, random())
    kept = non_maximum_suppression(found.corners, found.margins, 0.4)
    first = np.unique(groups.owners, return_index=True)[1]
    np.testing.assert_array_equal(seen_at(groups)[first], found.margins[kept].astype(np.float16))
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


@pytest.mark.parametrize("empty", [False, True])
def test_a_photo_without_faces_counts_for_nothing_unless_it_is_to_show_false_alarms(empty):
    found = candidates_of([[0, 0, 9, 9], [50, 0, 90, 40]], [1, 0.5], [16, 32])
    groups = group(found, by_height(np.zeros((0, 4))), random(), empty=empty)
    assert groups.faces.sum() == 0
    assert groups.labels.tolist() == [[0, 0, 0]] * 2 * empty


def test_other_data_sets_have_faces_that_count_and_faces_that_do_not(tmp_path):
    labels = tmp_path / "labels.jsonl"
    faces = [{"box": [10, 20, 70, 80]}, {"box": [100, 20, 120, 40]}]
    lines = [
        {"file": "a.jpg", "faces": faces, "ignored": [[200, 0, 260, 60]]},
        {"file": "b.jpg", "faces": []},
    ]
    labels.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).touch()
    truth, photos = other_photos(labels, tmp_path)
    assert photos == {name: tmp_path / name for name in ("a.jpg", "b.jpg")}
    assert truth["a.jpg"].boxes.tolist() == [[10, 20, 60, 60], [100, 20, 20, 20], [200, 0, 60, 60]]
    assert truth["a.jpg"].counted["easy"].tolist() == [True, False, False]
    assert truth["a.jpg"].counted["hard"].tolist() == [True, True, False]
    assert len(truth["b.jpg"].boxes) == 0


def test_a_group_keeps_who_could_be_its_best_and_knows_who_would_be_right():
    # three on a face of 40 px, the best one beside it, the last one out of reach; and one elsewhere
    corners = np.array([[14, 0, 54, 40], [2, 0, 42, 40], [0, 0, 40, 40], [100, 100, 140, 140]], float)
    margins = np.array([2.0, 1.0, -2.0, 0.5], np.float32)
    order = np.argsort(-margins)
    found = candidates_of(corners[order], margins[order], np.full(4, 32))
    groups = group(found, by_height(np.array([[0, 0, 40, 40.0]])), random())
    assert groups.owners.tolist() == [0, 0, 1]
    assert seen_at(groups).tolist() == [2.0, 1.0, 0.5]
    # of 40 px: medium and hard
    assert groups.labels.tolist() == [[0, 0, 0], [-1, 1, 1], [0, 0, 0]]


def test_weak_false_alarms_are_few_and_stand_for_all():
    count = 4000
    corners = np.array([[x * 20, 0, x * 20 + 10, 10] for x in range(count)], float) + 50
    found = candidates_of(corners, np.full(count, -2.0), np.full(count, 16))
    groups = group(found, by_height(np.array([[0, 0, 12, 12.0]])), random())
    assert len(groups.weights) < count / 5
    assert groups.weights.sum() == pytest.approx(count, rel=0.1)


def test_a_data_set_of_half_the_weight_counts_half():
    found = candidates_of([[10, 10, 130, 130], [300, 10, 420, 130]], [1.0, 2.0], [128, 128])
    one = group(found, by_height(np.array([[10, 10, 120, 120.0]])), random())
    half = weigh(one, 0.5)
    assert half.weights.tolist() == [0.5, 0.5]
    assert half.faces.tolist() == [0.5, 0.5, 0.5]
    assert join([one, half]).faces.tolist() == [1.5, 1.5, 1.5]


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
    faces = right.sum() * 1.1
    counts = [torch.from_numpy(what & ~neither)[:, None].float() for what in (right, ~right)]
    smooth = smooth_average_precision(torch.from_numpy(margins), *counts, torch.tensor([faces]))
    assert smooth.item() == pytest.approx(exact(margins[~neither], right[~neither], faces), abs=0.005)


def test_one_that_stands_for_others_counts_as_often():
    found = torch.tensor([[1.0], [0.0], [1.0]])
    twice = smooth_average_precision(
        torch.tensor([2.0, 1.0, 0.0]), found, torch.tensor([[0.0], [2.0], [0.0]]), torch.tensor([2.0])
    )
    right = torch.tensor([[1.0], [0.0], [0.0], [1.0]])
    apart = smooth_average_precision(
        torch.tensor([2.0, 1.0, 1.0, 0.0]), right, 1 - right, torch.tensor([2.0])
    )
    assert twice.item() == pytest.approx(apart.item())


def test_the_gradient_raises_faces_and_lowers_false_alarms():
    random = np.random.default_rng(1)
    labels = (random.random(400) < 0.5).astype(np.int8)
    margins = torch.tensor(random.normal(labels, 1.0), dtype=torch.float32, requires_grad=True)
    right = torch.from_numpy(labels)[:, None].float()
    smooth_average_precision(margins, right, 1 - right, torch.tensor([200.0])).sum().backward()
    rises = margins.grad.numpy()
    assert rises[labels == 1].mean() > 0 > rises[labels == 0].mean()


def scenes(model, seed, informative):
    """Return one list: faces and false alarms of equal confidence, told apart by one channel, or by none."""
    random = np.random.default_rng(seed)
    channels = tails(model)[0].convolution.in_channels
    parts = []
    for _ in range(60):
        corners = np.array([[10, 10, 130, 130], [300, 10, 420, 130], [600, 10, 720, 130]], float)
        maps = [random.normal(0, 1, (channels, 1, 9)).astype(np.float32) for _ in range(3)]
        if informative:
            maps[1][0, 0, [1, 4, 7]] = [4, 4, -4]
        # two faces and a false alarm, of 128 px, each in a cell of its own
        cells = 9 + np.array([1, 4, 7])
        order = random.permutation(3)
        found = candidates_of(corners[order], np.zeros(3), np.full(3, 128), cells[order], maps)
        truth = by_height(np.array([[10, 10, 120, 120], [300, 10, 120, 120]], float))
        parts.append(group(found, truth, random))
    return join(parts)


def fitted(model, informative, **settings):
    """Fit a model, and return what it told of one list that it saw and of one that it didn't."""
    told = []
    seen, apart = scenes(model, 1, informative), scenes(model, 2, informative)
    settings = FitSettings(bf16=False, **settings)
    fit(model, [seen], settings, held_out=[apart], tell=lambda *one: told.append(one), every=50)
    assert [step for step, *_ in told] == [*range(0, settings.steps, 50), settings.steps]
    assert all(part.shape == (1, 3) for _, *parts in told for part in parts)
    return [(seen[0, 0].item(), apart[0, 0].item()) for _, seen, apart in told]


def test_what_tells_faces_from_false_alarms_is_learnt_and_holds_elsewhere(checkpoint):
    model = load_model(checkpoint)[0]
    before, *_, (seen, unseen) = fitted(model, informative=True)
    assert max(before) < 0.9
    assert min(seen, unseen) > 0.98
    chance = fitted(load_model(checkpoint)[0], informative=False)
    assert chance[-1][1] < 0.9


def test_other_layers_and_boxes_stay(checkpoint):
    before, after = load_model(checkpoint)[0], load_model(checkpoint)[0]
    fitted(after, informative=True)
    changed = {
        name
        for name, value in before.state_dict().items()
        if not torch.equal(value, after.state_dict()[name])
    }
    # no photo showed a prior of the other strides: their margins move with the others alone
    layers = {"v1": ["context.1.conv"], "nano": ["heads.1.stem"]}[before.name]
    expected = {f"{layer}.{part}" for layer in layers for part in ("0.weight", "1.bias")}
    expected |= {f"heads.1.classification.{part}" for part in ("weight", "bias")}
    assert changed - {f"heads.{level}.classification.bias" for level in (0, 2)} == expected
    groups = scenes(before, 1, True)
    seen = torch.from_numpy(groups.patches[groups.labels[:, 0] == 1]).float()
    moved = []
    for hold in (0.0, 1000.0):
        free = load_model(checkpoint)[0]
        fitted(free, informative=True, hold=hold)
        outputs = []
        for model in (before, free):
            tail = tails(model)[1]
            with torch.no_grad():
                patches = seen.view(len(seen), -1, 3, 3)
                made = tail.normalisation(torch.conv2d(patches, tail.convolution.weight))
                outputs.append(tail.head.box(made.relu()[:, tail.order]))
        moved.append((outputs[1] - outputs[0]).abs().mean().item())
    assert moved[1] < moved[0] / 2


def test_as_many_false_alarms_pass_one_half_as_before(checkpoint):
    model = load_model(checkpoint)[0]
    seen = scenes(model, 1, informative=False)

    def false_alarms(model):
        tail = tails(model)[1]
        with torch.no_grad():
            patches = torch.from_numpy(seen.patches).float().view(len(seen.patches), -1, 3, 3)
            made = tail.normalisation(torch.conv2d(patches, tail.convolution.weight)).relu()[:, tail.order]
            classes = tail.head.classification(made)[:, :, 0, 0].numpy()
        prior = seen.sides % 2
        rows = np.arange(len(classes))
        margins = classes[rows, 2 * prior + 1] - classes[rows, 2 * prior]
        return margins[(seen.labels == 0).all(1)]

    # one half lies amid them
    with torch.no_grad():
        model.heads[1].classification.bias[1::2] -= float(np.median(false_alarms(model)))
    before = (false_alarms(model) > 0).sum()
    assert 20 < before < 40
    fit(model, [seen], FitSettings(bf16=False, steps=20))
    assert (false_alarms(model) > 0).sum() == pytest.approx(before, abs=1)


def test_no_steps_change_nothing(checkpoint):
    before, after = load_model(checkpoint)[0], load_model(checkpoint)[0]
    fitted(after, informative=True, steps=0)
    for name, value in before.state_dict().items():
        assert torch.equal(value, after.state_dict()[name]), name


def test_both_logits_of_a_prior_move_against_each_other(checkpoint):
    before, after = load_model(checkpoint)[0], load_model(checkpoint)[0]
    fitted(after, informative=True)
    for one, other in zip(before.heads, after.heads, strict=True):
        for name in ("weight", "bias"):
            old, new = getattr(one.classification, name), getattr(other.classification, name)
            torch.testing.assert_close(new[0::2] + new[1::2], old[0::2] + old[1::2], atol=1e-5, rtol=1e-4)


def into_a_mean(arguments):
    """Average fitted weights, which nobody could tell from a mean's."""
    average(Path(arguments[1]), Path(arguments[0]), [(Path(arguments[0]), 0.5)])


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
        photos = root / "WIDER_train" / "images"
        extra = tmp_path / "extra.jsonl"
        extra.write_text(json.dumps({"file": "0--Squares/1.jpg", "faces": []}))
        options += ["--extra", f"empty={extra}:{photos}"]
        main([str(tmp_path / "run" / "last.pt"), str(output), *options])
    shown = (": 4", ": 1", ", mirrored: 2")
    read = [f"size {size}{count} photos read" for size in ("original", 96) for count in shown]
    assert caplog.messages[:6] == read
    lines = [message.rpartition(":")[0] for message in caplog.messages[6:]]
    assert lines[:4] == [
        f"step 0 of 2, size {size}, {part}" for part in ("fitted", "held out") for size in ("original", 96)
    ]
    assert lines[4] == "step 2 of 2, size original, fitted"
    told, before = stages(load_model(output)[1]), stages(load_model(tmp_path / "run" / "last.pt")[1])
    assert {key: value for key, value in told[-1].items() if key != "ranking"} == before[-1]
    assert told[-1]["ranking"]["sizes"] == ["original", 96]
    assert told[-1]["ranking"]["photos"] == 2
    assert told[-1]["ranking"]["extra"] == {"empty": 1}
    assert told[-1]["ranking"]["extra_weight"] == 0.25
    for refused, match in ((main, "fitted already"), (into_a_mean, "to fit the mean")):
        with pytest.raises(CheckpointError, match=match):
            refused([str(output), str(tmp_path / "again.pt"), *options])
        assert not (tmp_path / "again.pt").exists()
    Trainer(settings, mixture, tmp_path / "next", torch.device("cpu"), start=output).run()
    assert load_model(tmp_path / "next" / "last.pt")[1]["history"] == told
