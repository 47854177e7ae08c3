import json
import shutil
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from featherface import Detector, Settings, load_settings  # noqa: E402
from featherface.packages import load_manifest  # noqa: E402
from featherface.priors import CENTRE_VARIANCE, LEVELS, SIZE_VARIANCE  # noqa: E402
from featherface.resize import MEAN_BGR  # noqa: E402
from featherface.validation import load_validated  # noqa: E402
from featherface_training.average import average  # noqa: E402
from featherface_training.checkpoint import load_model  # noqa: E402
from featherface_training.config import TrainSettings  # noqa: E402
from featherface_training.data.mixture import Mixture  # noqa: E402
from featherface_training.data.packed import PackedDataset, pack  # noqa: E402
from featherface_training.data.wider import read_wider  # noqa: E402
from featherface_training.measure import main as measure_again  # noqa: E402
from featherface_training.models import EXPECTED_PARAMETERS  # noqa: E402
from featherface_training.package import make_package  # noqa: E402
from featherface_training.trainer import Trainer  # noqa: E402


@pytest.fixture(scope="module", params=["nano", "v1"])
def package(request, wider_val, tmp_path_factory):
    """Train for a few steps, make the package: the whole way that the published ones went."""
    root, truth = wider_val
    folder = tmp_path_factory.mktemp(f"package_{request.param}")
    train = folder / "wider" / "WIDER_train" / "images" / "0--Portraits"
    train.mkdir(parents=True)
    labels = folder / "label.txt"
    lines = []
    for i in range(8):
        (train / f"{i}.jpg").write_bytes(
            (root / "WIDER_val" / "images" / "0--Portraits" / "grace_hopper.jpg").read_bytes()
        )
        lines.append(f"# 0--Portraits/{i}.jpg\n168 95 167 226")
    labels.write_text("\n".join(lines))
    pack(read_wider(folder / "wider", labels), folder / "pack")
    data = PackedDataset(folder / "pack")
    settings = TrainSettings(model=request.param, epochs=2, batch=4, sizes=(64,), bf16=False)
    first, second, mean = folder / "first" / "last.pt", folder / "second" / "last.pt", folder / "mean.pt"
    Trainer(settings, Mixture(data), first.parent, torch.device("cpu")).run()
    Trainer(settings, Mixture(data), second.parent, torch.device("cpu"), start=first).run(stop_after=1)
    average(mean, second, [(first, 0.5)])
    models = folder / "models"
    make_package(mean, models, data, root, truth, {"photos": "eight of one"})
    return request.param, models


def test_the_package_passes_its_own_validation_in_both_precisions(package):
    name, models = package
    manifest = load_manifest(models)
    assert manifest.models[name].parameters == EXPECTED_PARAMETERS[name]["total"]
    for precision in ("fp32", "int8"):
        assert (
            load_validated(manifest, name, precision).sha256 == manifest.models[name].file(precision).sha256
        )


def test_both_precisions_run_and_roughly_agree(package, wider_val):
    name, models = package
    photo = (wider_val[0] / "WIDER_val" / "images" / "0--Portraits" / "grace_hopper.jpg").read_bytes()
    settings = Settings(model=name, confidence_threshold=0.0, nms_threshold=1.0, max_detections=10)
    full = Detector.load(settings=settings, models=models).detect(photo)
    small = Detector.load(settings=replace(settings, precision="int8"), models=models).detect(photo)
    assert full.faces[0].confidence == pytest.approx(small.faces[0].confidence, abs=0.1)


def test_the_edge_profile_runs_on_the_package(package):
    name, models = package
    settings = load_settings("edge_device", environ={}, overrides={"model": name})
    assert Detector.load(settings=settings, models=models).info.precision == "int8"


def test_the_configuration_says_what_the_code_does(package):
    name, models = package
    folder = models / load_manifest(models).models[name].file("fp32").path.parent.name
    configuration = json.loads((folder / "deployment_config.json").read_text())
    assert configuration["mean"] == list(MEAN_BGR)
    assert configuration["priors"] == [{"stride": s, "sides": list(sides)} for s, sides in LEVELS]
    assert configuration["variances"] == [CENTRE_VARIANCE, SIZE_VARIANCE]
    assert configuration["parameters"] == EXPECTED_PARAMETERS[name]["total"]
    assert TrainSettings.from_dict(configuration["training"]["settings"]).model == name
    rows = configuration["metrics"]["average_precision"]
    assert {(row["precision"], row["size"]) for row in rows} == {
        (p, s) for p in ("fp32", "int8") for s in (640, "original")
    }
    card = (folder / "MODEL_CARD.md").read_text()
    assert "eight of one" in card
    assert "a mean: 50% of run 1's and 50% of run 2's" in card
    parts = [{"stage": 1, "weight": 0.5}, {"stage": 2, "weight": 0.5}]
    assert configuration["training"]["average"] == parts
    assert "research use" in card


def test_a_package_can_be_measured_on_more_photos_and_keeps_its_weights(package, wider_val, tmp_path, capsys):
    name, models = package
    root, truth = wider_val
    shutil.copytree(models, tmp_path / "models")
    folder = tmp_path / "models" / load_manifest(models).models[name].file("fp32").path.parent.name
    shutil.copytree(root / "WIDER_val", tmp_path / "WIDER_val")
    photos = tmp_path / "WIDER_val" / "images" / "0--Portraits"
    shutil.copy(photos / "grace_hopper.jpg", photos / "not_there.jpg")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert b"2 of 3 photos" in before["MODEL_CARD.md"]
    assert b"don't set these figures" in before["MODEL_CARD.md"]
    arguments = [name, "--models", str(tmp_path / "models"), "--ground-truth", str(truth)]
    measure_again([*arguments, "--wider", str(tmp_path)])
    assert "3 of 3 photos" in capsys.readouterr().out
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {n for n in after if after[n] != before[n]} == {"MODEL_CARD.md", "deployment_config.json"}
    assert b"3 of 3 photos" in after["MODEL_CARD.md"]
    assert b"don't set these figures" not in after["MODEL_CARD.md"]
    old, new = (json.loads(files["deployment_config.json"]) for files in (before, after))
    assert {**old, "metrics": None} == {**new, "metrics": None}


def test_measuring_what_is_not_there_says_so(package, wider_val, tmp_path, capsys):
    name, models = package
    root, truth = wider_val
    for folder, wider, message in (
        (tmp_path, root, "expected a package"),
        (models, tmp_path, "expected photos of WIDER FACE val"),
    ):
        with pytest.raises(SystemExit):
            measure_again(
                [name, "--models", str(folder), "--wider", str(wider), "--ground-truth", str(truth)]
            )
        assert message in capsys.readouterr().err


def test_the_published_checkpoint_loads_and_is_what_was_exported(package):
    name, models = package
    entry = load_manifest(models).models[name].file("checkpoint")
    model, _ = load_model(entry.path)
    assert model.name == name
    saved = torch.load(entry.path, weights_only=True)
    assert set(saved) == {"model", "settings", "step", "history", "average", "model_state_dict"}


def test_weights_made_again_keep_their_notes_and_others_must_have_some(package, wider_val, tmp_path):
    name, models = package
    entry = load_manifest(models).models[name]
    checkpoint, folder = entry.file("checkpoint").path, entry.file("fp32").path.parent
    copied = tmp_path / "models"
    shutil.copytree(models, copied)
    data = PackedDataset(models.parent / "pack")
    make_package(checkpoint, copied, data, *wider_val, {"machine": "another"}, keep_notes=True)
    card = (copied / folder.name / "MODEL_CARD.md").read_text()
    assert "- Photos: eight of one" in card
    assert "- Machine: another" in card
    with pytest.raises(ValueError, match="--keep-notes"):
        make_package(checkpoint, tmp_path / "new", data, *wider_val, {}, keep_notes=True)
    assert not (tmp_path / "new").exists()
