"""What cannot be measured is refused with a reason."""

from pathlib import Path

import pytest

from featherface.cli import main

NO_NETWORK = "no network.onnx"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--rounds", "0"], "--rounds must be at least 1; got 0"),
        (["--size", "0"], "--size must be a multiple of 128"),
        (["--size", "641"], "--size must be a multiple of 128"),
        (["--model", "v3"], "'v3'"),
        (["--peer", NO_NETWORK], f"{NO_NETWORK} is no network"),
        (["--peer", "nowhere.onnx"], "nowhere.onnx"),
        (["nowhere.jpg"], "nowhere.jpg"),
        ([NO_NETWORK], f"{NO_NETWORK}: "),
    ],
)
def test_what_cannot_be_measured_is_refused(
    options: list[str],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / NO_NETWORK).write_bytes(b"not even close")
    monkeypatch.chdir(tmp_path)
    assert main(["benchmark", *options]) == 2
    assert reason in capsys.readouterr().err
