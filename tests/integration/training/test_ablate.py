"""Runs of two steps on made labels, measured on two photos as val."""

import hashlib
import json
import shutil
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from featherface_training.ablate import Ablations, ablate, main, read_ablations, table  # noqa: E402
from featherface_training.checkpoint import save  # noqa: E402
from featherface_training.config import TrainSettings  # noqa: E402
from featherface_training.ema import AveragedModel  # noqa: E402
from featherface_training.models import build_model  # noqa: E402
from featherface_training.places import Places  # noqa: E402
from featherface_training.recipe import RecipeError  # noqa: E402

SMALL = {"steps": 2, "batch": 2, "sizes": (64,), "bf16": False, "warmup_steps": 0}


@pytest.fixture
def bench(wider_val, tmp_path):
    """What `ablate` is told, with two short runs of the published ones."""
    root, truth = wider_val
    (tmp_path / "WIDER_val").symlink_to(root / "WIDER_val")
    folder = tmp_path / "WIDER_train" / "images" / "0--Portraits"
    folder.mkdir(parents=True)
    lines = []
    for i in range(3):
        shutil.copy(root / "WIDER_val" / "images" / "0--Portraits" / "grace_hopper.jpg", folder / f"{i}.jpg")
        lines.append(f"# 0--Portraits/{i}.jpg\n168 95 167 226 " + " ".join(["-1"] * 15) + " 0.9\n")
    labels = tmp_path / "label.txt"
    labels.write_text("".join(lines))
    network = build_model("v1")
    start = tmp_path / "v1.pth"
    optimizer = torch.optim.SGD(network.parameters())
    save(start, TrainSettings(model="v1"), 1, network, AveragedModel(network, 0.9), optimizer)
    published = read_ablations()
    runs = {
        name: replace(published.runs[name], settings=replace(published.runs[name].settings, **SMALL))
        for name in ("base", "giou", "more")
    }
    return {
        "ablations": Ablations(published.start, runs),
        "names": ["base", "giou"],
        "folder": tmp_path / "runs",
        "release": {"v1": {"sha256": hashlib.sha256(start.read_bytes()).hexdigest()}},
        "ground_truth": truth,
        "places": Places(
            tmp_path, labels, tmp_path / "packs", {"release-v1": start}, {}, ["--device", "cpu"]
        ),
        "threads": 1,
    }


def test_runs_are_made_once_and_their_table_tells_each(bench):
    rows = ablate(**bench)
    assert [says for says, _ in rows] == [
        "where all start",
        "**base**: ATSS, quality focal loss, DIoU, landmarks weigh 0.25",
        "GIoU",
    ]
    for _, result in rows:
        assert result["photos"] == 2
        assert all(0 <= value <= 1 for size in ("640", "original") for value in result[size])
    written = {path: path.stat().st_mtime_ns for path in bench["folder"].rglob("*.*")}
    assert {path.parent.name for path in written} == {"base", "giou"}
    assert json.loads((bench["folder"] / "giou" / "settings.json").read_text())["loss"]["box"] == "giou"
    assert ablate(**bench) == rows
    assert {path: path.stat().st_mtime_ns for path in bench["folder"].rglob("*.*")} == written
    header, _, start, *made = table(rows).splitlines()
    assert header == "| 2 photos of WIDER FACE val | long side 640 | original size | minutes |"
    assert start.endswith(" |  |")
    for line, (says, result) in zip(made, rows[1:], strict=True):
        figures = " / ".join(f"{value:.4f}" for value in result["640"])
        assert line.startswith(f"| {says} | {figures} | ")
        assert line.endswith(f" | {result['minutes']:g} |")


def test_a_run_that_was_cut_goes_on_and_has_no_time(bench):
    places = bench["places"]
    ablate(**{**bench, "places": replace(places, options=[*places.options, "--stop-after", "1"])})
    for name in ("base", "giou"):
        (bench["folder"] / name / "result.json").unlink()
    rows = ablate(**bench)
    assert [result.get("minutes") for _, result in rows] == [None] * 3
    assert torch.load(bench["folder"] / "giou" / "last.pt", weights_only=True)["step"] == 2
    assert table(rows).splitlines()[-1].endswith(" |  |")


def test_what_is_missing_is_told_before_anything_is_trained(bench):
    with pytest.raises(RecipeError, match=r"expected --file release-v1=FILE and the file to be there"):
        ablate(**{**bench, "places": replace(bench["places"], files={})})
    with pytest.raises(RecipeError, match="is not the release's: expected the SHA-256 abc"):
        ablate(**{**bench, "release": {"v1": {"sha256": "abc"}}})
    with pytest.raises(RecipeError, match="more needs --extra more=LABELS:PHOTOS"):
        ablate(**{**bench, "names": ["base", "more"]})
    assert not bench["folder"].exists()


def test_other_settings_refuse_a_folder(bench):
    ablate(**bench)
    runs = {"giou": replace(bench["ablations"].runs["base"], name="giou")}
    other = Ablations(bench["ablations"].start, runs)
    with pytest.raises(RecipeError, match="giou holds a run by other settings"):
        ablate(**{**bench, "ablations": other, "names": ["giou"]})


def test_each_run_but_the_base_differs_from_it():
    runs = read_ablations().runs
    base = runs["base"]
    told = [(run.settings, run.teachers) for run in runs.values()]
    assert told.count((base.settings, base.teachers)) == 1
    assert all(told.count(one) == 1 for one in told)
    # what only teachers read needs one
    for run in runs.values():
        assert (run.settings.distillation != base.settings.distillation) <= bool(run.teachers)


def test_a_run_that_there_is_not_is_told(capsys):
    with pytest.raises(SystemExit):
        main(["nothing", "--ground-truth", "x", "--wider", "x", "--labels", "x", "--pack", "x"])
    assert "expected one of base, iou, " in capsys.readouterr().err
