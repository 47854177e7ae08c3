"""The models that this repository ships: whole, consistent, and as good as their cards say."""

import json

import pytest

torch = pytest.importorskip("torch")

from featherface.packages import load_manifest  # noqa: E402
from featherface_training.checkpoint import load_model  # noqa: E402
from featherface_training.config import TrainSettings  # noqa: E402
from featherface_training.export import check_parity  # noqa: E402

MANIFEST = load_manifest()


@pytest.mark.parametrize("name", ["v1", "nano"])
def test_the_checkpoint_and_the_graph_are_the_same_model(name):
    package = MANIFEST.models[name]
    model, entries = load_model(package.file("checkpoint").path)
    assert TrainSettings.from_dict(entries["settings"]).model == name
    assert check_parity(model, package.file("fp32").path.read_bytes()) <= 1e-4


@pytest.mark.parametrize("name", ["v1", "nano"])
def test_every_file_of_the_folder_is_in_the_manifest(name):
    package = MANIFEST.models[name]
    folder = package.file("fp32").path.parent
    listed = {entry.path.name for entry in package.files.values()}
    assert {path.name for path in folder.iterdir()} == listed | {"deployment_config.json", "MODEL_CARD.md"}


@pytest.mark.parametrize("name", ["v1", "nano"])
def test_configuration_and_card_tell_the_measured_figures(name):
    package = MANIFEST.models[name]
    folder = package.file("fp32").path.parent
    configuration = json.loads((folder / "deployment_config.json").read_text())
    assert configuration["version"] == package.version
    assert configuration["parameters"] == package.parameters
    card = (folder / "MODEL_CARD.md").read_text()
    for row in configuration["metrics"]["average_precision"]:
        for difficulty in ("easy", "medium", "hard"):
            assert f"{row[difficulty]:.4f}" in card
    at_640 = next(
        row
        for row in configuration["metrics"]["average_precision"]
        if (row["precision"], row["size"]) == ("fp32", 640)
    )
    assert at_640["easy"] >= 0.88
