import json

import pytest

pytest.importorskip("torch")

from featherface.packages import find_models_folder
from featherface_training.model_card import NAMES, model_card


@pytest.mark.parametrize("model", NAMES)
@pytest.mark.parametrize("rate", [0.0, 2.0])
def test_the_card_tells_whether_muon_moved_the_weights(model, rate):
    title, folder, _ = NAMES[model]
    configuration = json.loads((find_models_folder() / folder / "deployment_config.json").read_text())
    configuration["training"]["settings"]["muon_rate"] = rate
    assert ("Muon" in model_card(title, configuration)) == bool(rate)
