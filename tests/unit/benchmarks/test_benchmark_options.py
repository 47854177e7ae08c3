"""What cannot be measured is refused with a reason."""

from pathlib import Path

import pytest

from featherface.cli import main
from featherface_benchmarks.batch.__main__ import main as batch

NO_NETWORK = "no network.onnx"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--rounds", "0"], "--rounds must be at least 1; got 0"),
        (["--threads", "0"], "--threads must be at least 1; got 0"),
        (["--size", "0"], "--size must be a multiple of 128"),
        (["--size", "641"], "--size must be a multiple of 128"),
        (["--size", "10"], "for an input of 4:3; got 10 [configuration]"),
        (["--model", "v3"], "'v3'"),
        (["--peer", NO_NETWORK], f"{NO_NETWORK} is no network"),
        (["--peer", "nowhere.onnx"], "nowhere.onnx"),
        (["nowhere.jpg"], "nowhere.jpg: No such file or directory"),
        (["."], ".: Is a directory"),
        ([NO_NETWORK], f"{NO_NETWORK}: "),
        ([NO_NETWORK], "[unsupported_format]"),
        (["--model", "v1:int4"], "precision must be one of fp32, int8; got 'int4' [configuration]"),
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
    said = capsys.readouterr().err
    assert reason in said
    assert said.startswith("featherface: error: ")
    assert "Errno" not in said


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["speed", "nowhere"], "expected a folder of photos; nowhere is none"),
        (["speed", "empty"], "expected a folder of photos; empty has no file"),
        (
            ["speed", "photos", "--only", "annotate,spark"],
            "expected contestants of annotate, annotate-full, ",
        ),
        (["speed", "photos", "--only", "loop"], "each once and with commas between; got 'loop'"),
        (["speed", "photos", "--only", "pool,pool"], "each once and with commas between"),
        (
            ["speed", "photos", "--count", "0"],
            "argument --count: expected a whole number of at least 1, got '0'",
        ),
        (["speed", "photos", "--count", "100", "--few", "100"], "--few must be less than --count"),
        (["speed", "photos", "--few", "-5"], "argument --few: expected a whole number"),
        (["speed", "photos", "--cpus", "0"], "argument --cpus: expected a whole number"),
        (["speed", "photos", "--turn", "0"], "argument --turn: expected a number above 0, got '0'"),
        (["speed", "photos", "--turn", "nan"], "argument --turn: expected a number above 0"),
        (["large-photos", "photos", "--different", "0"], "argument --different: expected a whole number"),
        (["large-photos", "photos", "--wider", "photos"], "--wider and --ground-truth are wanted together"),
        (["delay", "photos", "--rounds", "0"], "argument --rounds: expected a whole number"),
        (["delay", "photos", "--milliseconds", "-1"], "expected a number of at least 0, got '-1'"),
        (["planning", "--rows", "1000", "0"], "argument --rows: expected a whole number"),
        (["sinks", "--count", "many"], "argument --count: expected a whole number of at least 1, got 'many'"),
    ],
)
def test_a_benchmark_of_the_bulk_job_that_measures_nothing_is_refused(
    arguments: list[str],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").write_bytes(b"a photo")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        batch(arguments)
    assert end.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert reason in captured.err
