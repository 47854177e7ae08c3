"""Numbers that make no sense are refused before anything is started or written."""

import os
from pathlib import Path

import pytest

from featherface.cli import main


def test_a_place_that_is_no_text_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = os.fsdecode(b"caf\xe9")
    assert main(["annotate", str(tmp_path), "--output", str(tmp_path / name)]) == 2
    assert "--output must be a name in UTF-8" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_endpoint_that_is_no_address_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    places = ["s3://photos/all", "--output", "s3://faces/all"]
    assert main(["annotate", *places, "--endpoint-url", "localhost:9000"]) == 2
    assert "https://host:port (Invalid endpoint: localhost:9000) [usage]" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        "--cpus 0",
        "--cpus -1",
        "--worker-cpus 0",
        "--worker-cpus -2",
        "--worker-gpus -1",
        "--worker-gpus nan",
        "--worker-gpus inf",
        "--worker-gpus 1.5",
        "--max-workers -1",
        "--max-gpu-workers -1",
        "--limit 0",
        "--limit -3",
        "--timeout 0",
        "--timeout -5",
        "--timeout nan",
        "--timeout inf",
        "--cpu-hour-price -1",
        "--gpu-hour-price nan",
        "--max-errors -1",
        "--max-errors 101%",
        "--max-errors nan%",
        "--max-errors many",
        "--format jsonl,pdf",
        "--input-size 5",
        "--confidence 2",
        "--confidence nan",
    ],
)
def test_a_number_out_of_range_is_refused(
    options: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    option, value = options.split()
    assert main(["annotate", str(tmp_path), "--output", str(output), option, value]) == 2
    said = capsys.readouterr().err
    assert said.startswith("featherface: error: ")
    assert value in said
    assert not output.exists()


def test_no_number_at_all_is_refused_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # as a shell hands over a variable that is not set
    assert main(["annotate", str(tmp_path), "--output", str(tmp_path / "out"), "--max-errors", ""]) == 2
    assert "--max-errors takes a number" in capsys.readouterr().err
