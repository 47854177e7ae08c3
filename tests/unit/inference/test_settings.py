from __future__ import annotations

import re
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest

from featherface import PROFILES, ConfigurationError, DetectOptions, Settings, load_settings
from featherface.images import PILLOW_PIXEL_LIMIT

NAMES = [field.name for field in fields(Settings)]
OTHER = {
    "model": "v1",
    "precision": "int8",
    "device": "cpu",
    "fit": "square",
    "mirror": True,
    "input_size": 320,
    "batch_size": 2,
    "threads": 3,
    "confidence_threshold": 0.25,
    "nms_threshold": 0.3,
    "max_detections": 9,
    "memory_limit_mb": 512,
    "max_image_bytes": 1000,
    "max_image_pixels": 1000,
}


def documented() -> dict[str, tuple[str, str, str]]:
    """Return range, default and variable of each setting as docs/architecture.md tells them."""
    text = (Path(__file__).parents[3] / "docs/architecture.md").read_text(encoding="utf-8")
    table = text.partition("### Settings\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines() if "| `" in row]
    return {
        name.strip("`"): (ranged, default.strip("`").replace(",", ""), variable.strip("`"))
        for name, _, ranged, default, variable in rows
    }


def test_the_documented_settings_are_these_with_their_defaults_and_variables() -> None:
    found = {name: (default, variable) for name, (_, default, variable) in documented().items()}
    assert found == {
        name: (str(value).lower(), f"FEATHERFACE_{name.upper()}")
        for name, value in asdict(Settings()).items()
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_documented_ranges_hold_and_end_there(name: str) -> None:
    ranged = documented()[name][0]
    if "`" in ranged:
        with pytest.raises(ConfigurationError) as caught:
            Settings(**{name: "neither"})  # type: ignore[arg-type]
        allowed = str(caught.value).partition(" must be ")[2].partition("; got")[0]
        assert re.findall(r"\w+", allowed.replace("one of", "").replace(" or ", " ")) == re.findall(
            r"\w+", ranged
        )
        return
    kind = type(getattr(Settings(), name))
    first, last = (
        kind(number.replace(",", ""))
        for number in re.findall(r"[\d,]+", ranged.partition(" in ")[0].replace("0 (none), ", ""))
    )
    for inside in (first, last):
        assert getattr(Settings(**{name: inside}), name) == inside
    for outside in (first - 1, last + 1):
        with pytest.raises(ConfigurationError):
            Settings(**{name: outside})


def test_without_anything_the_defaults_hold() -> None:
    assert load_settings(environ={}) == Settings()


def test_production_is_the_defaults() -> None:
    assert load_settings("production", environ={}) == Settings()


@pytest.mark.parametrize("profile", PROFILES)
def test_shipped_profiles_set_every_key(profile: str) -> None:
    import yaml

    load_settings(profile, environ={})
    path = Path(load_settings.__code__.co_filename).parent / "profiles" / f"{profile}.yaml"
    assert sorted(yaml.safe_load(path.read_text())) == sorted(NAMES)


def test_the_guide_s_values() -> None:
    edge, production = load_settings("edge_device", environ={}), load_settings("production", environ={})
    assert (edge.input_size, edge.confidence_threshold, edge.max_detections) == (416, 0.6, 100)
    assert edge.precision == "int8"
    assert edge.memory_limit_mb > 0
    assert (production.confidence_threshold, production.nms_threshold, production.max_detections) == (
        0.5,
        0.4,
        1000,
    )


def test_shipped_profiles_are_all_listed() -> None:
    folder = Path(load_settings.__code__.co_filename).parent / "profiles"
    assert sorted(path.stem for path in folder.iterdir()) == sorted(PROFILES)


def test_order_of_precedence(tmp_path: Path) -> None:
    profile = tmp_path / "mine.yaml"
    profile.write_text("input_size: 416\nconfidence_threshold: 0.7\nmax_detections: 5\n")
    environ = {"FEATHERFACE_CONFIDENCE_THRESHOLD": "0.8", "FEATHERFACE_MAX_DETECTIONS": "6"}
    settings = load_settings(profile, environ=environ, overrides={"max_detections": 7, "model": None})
    assert settings.input_size == 416
    assert settings.confidence_threshold == 0.8
    assert settings.max_detections == 7
    assert settings.model == "nano"


def test_the_profile_can_come_from_the_environment() -> None:
    assert load_settings(environ={"FEATHERFACE_PROFILE": "edge_device"}).input_size == 416
    assert load_settings("cloud_api", environ={"FEATHERFACE_PROFILE": "edge_device"}).model == "v1"


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_can_come_from_the_environment(name: str) -> None:
    other = OTHER[name]
    settings = load_settings(environ={f"FEATHERFACE_{name.upper()}": str(other)})
    assert asdict(settings) == {**asdict(Settings()), name: other}


def test_other_variables_are_left_alone() -> None:
    others = {
        "FEATHERFACE_MODELS": "/models",
        "PATH": "/bin",
        # as Kubernetes tells of a service of this name
        "FEATHERFACE_PORT_80_TCP": "tcp://10.0.0.1:80",
        "FEATHERFACE_SERVICE_HOST": "10.0.0.1",
    }
    assert load_settings(environ=others) == Settings()


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"model": "resnet"}, "model must be one of nano, v1; got 'resnet'"),
        ({"device": "gpu"}, "device must be one of auto, cpu, cuda, tensorrt; got 'gpu'"),
        ({"model": ["nano"]}, r"model must be one of nano, v1; got \['nano'\]"),
        ({"input_size": 600}, "multiple of 32; got 600, the nearest are 576 and 608"),
        ({"input_size": 288}, "input_size must be from 320 to 1024; got 288"),
        ({"input_size": 640.0}, "input_size must be a whole number from 320 to 1024; got 640.0"),
        ({"batch_size": 9}, "batch_size must be from 1 to 8; got 9"),
        ({"batch_size": True}, "batch_size must be a whole number from 1 to 8; got True"),
        ({"mirror": 1}, "mirror must be true or false; got 1"),
        ({"confidence_threshold": 1.5}, "confidence_threshold must be from 0.0 to 1.0; got 1.5"),
        ({"confidence_threshold": "0.5"}, "confidence_threshold must be a number from 0.0 to 1.0; got '0.5'"),
        ({"confidence_threshold": float("nan")}, "confidence_threshold must be from 0.0 to 1.0; got nan"),
        ({"max_image_pixels": PILLOW_PIXEL_LIMIT + 1}, "max_image_pixels must be from 1 to"),
        ({"memory_limit_mb": 32}, r"memory_limit_mb must be 0 \(none\) or at least"),
    ],
)
def test_wrong_values_are_explained(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        Settings(**values)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "confidence_treshold: 0.5",
            "unknown setting 'confidence_treshold' in .*did you mean confidence_threshold?",
        ),
        ("colour: blue", "known are model, precision"),
        ("[1, 2]", "must be a mapping of settings, got list"),
        ("model: [", "cannot be read"),
        ("", "must be a mapping of settings, got NoneType"),
        ("1: 2", "unknown setting 1"),
    ],
)
def test_wrong_profiles_are_explained(text: str, reason: str, tmp_path: Path) -> None:
    profile = tmp_path / "mine.yaml"
    profile.write_text(text)
    with pytest.raises(ConfigurationError, match=reason):
        load_settings(profile, environ={})


def test_missing_profile() -> None:
    with pytest.raises(
        ConfigurationError, match="no profile 'prodution': give production, edge_device, cloud_api"
    ):
        load_settings("prodution", environ={})


def test_a_profile_cannot_run_code(tmp_path: Path) -> None:
    profile = tmp_path / "mine.yaml"
    profile.write_text("model: !!python/object/apply:os.system ['true']")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_settings(profile, environ={})


def test_wrong_environment_is_explained() -> None:
    with pytest.raises(
        ConfigurationError, match="FEATHERFACE_INPUT_SIZE must be a whole number; got 'large'"
    ):
        load_settings(environ={"FEATHERFACE_INPUT_SIZE": "large"})


@pytest.mark.parametrize(("name", "value"), [("MODEL", "v9"), ("MIRROR", "yes"), ("MAX_DETECTIONS", "0")])
def test_a_wrong_variable_is_named(name: str, value: str) -> None:
    environ = {f"FEATHERFACE_{name}": value}
    with pytest.raises(ConfigurationError, match=rf"from the variable FEATHERFACE_{name}\)"):
        load_settings(environ=environ)
    # what the caller says otherwise is not asked of the variable
    load_settings(environ=environ, overrides={name.lower(): OTHER[name.lower()]})


def test_a_misspelt_variable_is_an_error_and_no_silence() -> None:
    with pytest.raises(ConfigurationError, match="FEATHERFACE_MIROR: did you mean FEATHERFACE_MIRROR"):
        load_settings(environ={"FEATHERFACE_MIROR": "true"})


def test_wrong_overrides_are_explained() -> None:
    with pytest.raises(ConfigurationError, match="did you mean input_size"):
        load_settings(environ={}, overrides={"imput_size": 640})


def test_options_replace_settings() -> None:
    settings = Settings(max_detections=7)
    assert settings.with_options(None) is settings
    changed = settings.with_options(DetectOptions(confidence_threshold=0.0, input_size=320, mirror=True))
    assert changed == Settings(max_detections=7, confidence_threshold=0.0, input_size=320, mirror=True)
    # what is off is chosen, too
    assert changed.with_options(DetectOptions(mirror=False)) == replace(changed, mirror=False)


def test_options_are_checked() -> None:
    with pytest.raises(ConfigurationError, match="nms_threshold must be from"):
        DetectOptions(nms_threshold=-1)
    with pytest.raises(ConfigurationError, match="mirror must be true or false"):
        DetectOptions(mirror="yes")  # type: ignore[arg-type]


def test_a_memory_limit_leaves_the_rest_to_photos() -> None:
    assert Settings().image_limits.max_memory is None
    small, large = (Settings(memory_limit_mb=mb).image_limits.max_memory for mb in (256, 512))
    assert small is not None
    assert large is not None
    assert 0 < small < 256 * 2**20
    assert large - small == 256 * 2**20


def test_image_limits_follow_the_settings() -> None:
    limits = Settings(max_image_bytes=10, max_image_pixels=20).image_limits
    assert (limits.max_bytes, limits.max_pixels) == (10, 20)
