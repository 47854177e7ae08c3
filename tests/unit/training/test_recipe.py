import hashlib
import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from featherface.packages import find_models_folder  # noqa: E402
from featherface_training.checkpoint import load_model, save, stages  # noqa: E402
from featherface_training.config import TrainSettings  # noqa: E402
from featherface_training.ema import AveragedModel  # noqa: E402
from featherface_training.model_card import NAMES  # noqa: E402
from featherface_training.models import build_model  # noqa: E402
from featherface_training.places import Places  # noqa: E402
from featherface_training.recipe import RecipeError, Stage, plan, read_recipe, table  # noqa: E402
from featherface_training.reproduce import main, reproduce  # noqa: E402

RECIPE = """
[release]
commit = "abc"
v1 = {{ path = "v1.pth", sha256 = "{v1}" }}
nano = {{ path = "nano.pth", sha256 = "{nano}" }}
[final]
v1 = "v1-2/mean"
nano = "nano-1/ranked"
[stages]
v1-1 = {{ start = "release" }}
v1-2 = {{ start = "v1-1/last", mean = {{ "v1-1/last" = 0.25 }} }}
nano-1 = {{ start = "release", backbone = "v1-1/last", teachers = ["v1-2/mean"], ranked = [] }}
"""
# no default among them
FITTED = {
    "sizes": [96],
    "seed": 5,
    "steps": 2,
    "extra_weight": 0.5,
    "weights": [1.0, 2.0, 3.0],
    "hold": 0.7,
    "learning_rate": 0.002,
    "bf16": False,
}
SMALL = {"epochs": 1, "batch": 2, "sizes": [64], "bf16": False, "warmup_steps": 0}


@pytest.mark.parametrize("model", NAMES)
def test_the_published_recipe_tells_what_the_packages_tell(model):
    recipe = read_recipe()
    config = json.loads((find_models_folder() / NAMES[model][1] / "deployment_config.json").read_text())
    told = config["training"]
    final = recipe.final[model].partition("/")[0]
    own = [stage for stage in recipe.stages.values() if stage.model() == model]
    assert own[-1].name == final
    for i, stage in enumerate(own):
        entry = [*told["history"], told][i + 2]
        used = own[i + 1].start if stage is not own[-1] else recipe.final[model]
        kind = used.rpartition("/")[2]
        assert stage.fitted == entry.get("ranking", {})
        assert (kind == "ranked") == bool(stage.fitted)
        if stage.fitted:
            assert stage.ranked == tuple(stage.fitted["extra"])
        averaged = kind == "mean" or (kind == "ranked" and stage.mean)
        assert bool(averaged) == ("average" in entry)
        if averaged:
            shares = {int(name.split("/")[0].split("-")[1]) + 2: w for name, w in stage.mean.items()}
            shares[i + 3] = pytest.approx(1 - sum(shares.values()))
            assert {part["stage"]: part["weight"] for part in entry["average"]} == shares


def test_nano_needs_its_teachers_and_v1_needs_no_nano():
    recipe = read_recipe()
    assert {stage.model() for stage in plan(recipe, recipe.final["v1"])} == {"v1"}
    assert {stage.model() for stage in plan(recipe, recipe.final["nano"])} == {"v1", "nano"}


@pytest.mark.parametrize(("rate", "steps"), [(0.0, "9 of 4 crops"), (2.0, "9 of 4 crops, by Muon")])
def test_the_table_tells_who_moved_the_weights(rate, steps):
    stage = Stage("v1-1", "release", settings=TrainSettings(batch=4, muon_rate=rate), steps=9, fitted={})
    assert f"| {steps} |" in table([stage])


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A recipe of three short stages, its packages, and the weights that it starts from."""
    files, digests = {}, {}
    for model in NAMES:
        network = build_model(model)
        files[f"release-{model}"] = tmp_path / f"{model}.pth"
        optimizer = torch.optim.SGD(network.parameters())
        settings = TrainSettings(model=model)
        save(files[f"release-{model}"], settings, 1, network, AveragedModel(network, 0.9), optimizer)
        digests[model] = hashlib.sha256(files[f"release-{model}"].read_bytes()).hexdigest()
        entries = [{"settings": {**SMALL, "model": model, "seed": i}, "steps": 2} for i in range(2)]
        history = [{}, {}, *(entries[:1] if model == "v1" else [])]
        if model == "nano":
            entries[-1]["ranking"] = FITTED
        folder = tmp_path / "models" / NAMES[model][1]
        folder.mkdir(parents=True)
        last = entries[-1]
        (folder / "deployment_config.json").write_text(json.dumps({"training": {**last, "history": history}}))
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.format(**digests))
    return read_recipe(path, tmp_path / "models"), files


def _reproduce(recipe, model, wider, folder, files):
    photos, labels = wider
    places = Places(photos, labels, folder / "packs", files, {}, ["--device", "cpu"])
    return reproduce(recipe, model, folder / "runs", places)


def test_stages_are_made_once_and_lead_to_the_final_weights(small, wider, tmp_path):
    recipe, files = small
    made = _reproduce(recipe, "nano", wider, tmp_path, files)
    assert made == tmp_path / "runs" / "nano-1" / "ranked.pt"
    model, entries = load_model(made)
    assert model.name == "nano"
    told = stages(entries)[-1]["ranking"]
    # as the package tells, which was fitted before there were mirrored photos
    assert {**told, **FITTED, "mirrored": False} == {**told, "weights": list(told["weights"])}
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*.pt")}
    assert {path.parent.name for path in written} == {"v1-1", "v1-2", "nano-1"}
    # a run that was cut after its mean's first stage makes the rest alone
    for path in (tmp_path / "runs" / "v1-2" / "mean.pt", made):
        path.unlink()
    assert _reproduce(recipe, "nano", wider, tmp_path, files) == made
    again = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*.pt")}
    assert {path.name for path in again if again[path] != written[path]} == {"mean.pt", "ranked.pt"}


def test_what_is_missing_is_told_before_anything_is_trained(small, wider, tmp_path):
    recipe, files = small
    with pytest.raises(RecipeError, match=r"nano-1 needs release-nano: .* `git show abc:nano\.pth > FILE`"):
        _reproduce(recipe, "nano", wider, tmp_path, {"release-v1": files["release-v1"]})
    with pytest.raises(RecipeError, match="is not the release's: expected the SHA-256"):
        _reproduce(recipe, "v1", wider, tmp_path, {"release-v1": files["release-nano"]})
    with pytest.raises(RecipeError, match="which is not there"):
        _reproduce(recipe, "v1", wider, tmp_path, {"release-v1": Path("nowhere.pth")})
    assert not (tmp_path / "runs").exists()


def test_a_recipe_that_does_not_fit_the_packages_is_refused(small, tmp_path):
    path = tmp_path / "recipe.toml"
    text = path.read_text()
    path.write_text(text.replace("v1-2 =", "v1-3 ="))
    with pytest.raises(RecipeError, match="expected 2 stages of v1 in a row"):
        read_recipe(path, tmp_path / "models")
    path.write_text(text.replace('teachers = ["v1-2/mean"]', 'teachers = ["v1-1/mean"]'))
    with pytest.raises(RecipeError, match="nano-1 needs v1-1/mean, which no stage before it makes"):
        read_recipe(path, tmp_path / "models")


def test_the_plan_is_printed_as_a_table(capsys):
    main(["v1", "--plan"])
    header, _, *rows = (line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines())
    assert header[:3] == ["stage", "from", "taught by"]
    assert rows[0][:4] == ["v1-1", "release", "labels alone", "4,400 of 16 crops"]
    assert [row[0] for row in rows] == [
        stage.name for stage in plan(read_recipe(), read_recipe().final["v1"])
    ]
