from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import featherface
from featherface import Detections, Detector, Settings, cli
from featherface.packages import Manifest

Run = Callable[..., tuple[int, str, str]]
PROGRAM = [sys.executable, "-c", "import sys; from featherface.cli import main; sys.exit(main())"]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run_(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run_


@pytest.fixture
def photo(tmp_path: Path, scene: Callable[..., Image.Image]) -> Path:
    path = tmp_path / "scene.jpg"
    scene(200, 150, 1).save(path, quality=95)
    return path


def test_version(run: Run) -> None:
    assert run("--version") == (0, f"featherface {featherface.__version__}\n", "")


def test_detect_prints_one_document(run: Run, photo: Path) -> None:
    code, out, _ = run(
        "detect", photo, photo, "--device", "cpu", "--confidence", 0.001, "--max-detections", 3
    )
    assert code == 0
    document = json.loads(out)
    settings = Settings(device="cpu", confidence_threshold=0.001, max_detections=3)
    expected = Detector.load(settings=settings).detect(photo.read_bytes())
    assert document["model"]["model"] == "nano"
    assert document["model"]["precision"] == "fp32"
    assert document["photos"] == [{"path": str(photo), "detections": expected.to_dict()}] * 2
    assert Detections.from_dict(document["photos"][0]["detections"]).width == 200


def test_detect_goes_on_after_a_bad_photo(run: Run, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"GIF89a")
    code, out, _ = run("detect", tmp_path / "bad.jpg", tmp_path / "missing.jpg", photo, "--model", "v1")
    bad, missing, good = json.loads(out)["photos"]
    assert code == 1
    assert bad["error"]["code"] == "unsupported_format"
    assert missing["error"]["code"] == "file"
    assert "detections" in good


def test_detect_reads_no_more_of_a_file_than_shows_that_it_is_too_much(photo: Path, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    huge = tmp_path / "huge.jpg"
    with huge.open("wb") as file:
        file.truncate(64 * 1024**3)
    limit = 8 * 1024**3
    done = subprocess.run(
        [*PROGRAM, "detect", photo, huge, "--device", "cpu"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        capture_output=True,
        text=True,
        check=False,
    )
    good, bad = json.loads(done.stdout)["photos"]
    assert "detections" in good
    assert bad["error"]["code"] == "image_too_large"


@pytest.mark.parametrize("option", ["--draw", "--blur"])
def test_a_file_where_a_folder_is_to_be_is_a_usage_error(run: Run, photo: Path, option: str) -> None:
    code, out, err = run("detect", photo, option, photo)
    assert (code, out) == (2, "")
    assert f"{option} needs a folder to write to; {photo} is a file" in err


def test_detect_draws(run: Run, photo: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "scene.jpg"
    other.parent.mkdir()
    other.write_bytes(photo.read_bytes())
    pictures = tmp_path / "new" / "pictures"
    code, out, _ = run("detect", photo, other, "--draw", pictures, "--confidence", 0.001)
    paths = [Path(answer["picture"]) for answer in json.loads(out)["photos"]]
    assert code == 0
    assert sorted(pictures.iterdir()) == sorted(paths)
    assert len(set(paths)) == 2
    with Image.open(paths[0]) as picture, Image.open(photo) as original:
        assert picture.size == original.size
        assert np.asarray(picture).shape == (150, 200, 3)


def test_detect_reads_standard_input(photo: Path, tmp_path: Path) -> None:
    command = [*PROGRAM, "detect", "-", "--draw", str(tmp_path / "pictures")]
    ended = subprocess.run(command, input=photo.read_bytes(), capture_output=True, check=True)
    (answer,) = json.loads(ended.stdout)["photos"]
    assert answer["path"] == "-"
    assert answer["detections"] == Detector.load("nano").detect(photo.read_bytes()).to_dict()
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["stdin.faces.png"]


def test_detect_sends_folders_where_they_belong(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("detect", tmp_path)
    assert code == 1
    (answer,) = json.loads(out)["photos"]
    assert answer["error"]["code"] == "file"
    assert "featherface annotate" in answer["error"]["message"]


@pytest.mark.parametrize(
    ("address", "other"),
    [("https://example.com/a.jpg", None), ("s3://bucket/a.jpg", "`featherface annotate`")],
)
def test_detect_says_what_to_do_with_an_address(run: Run, address: str, other: str | None) -> None:
    code, out, _ = run("detect", address)
    assert code == 1
    (answer,) = json.loads(out)["photos"]
    assert answer["path"] == address
    assert answer["error"]["code"] == "file"
    message = answer["error"]["message"]
    assert message.startswith(f"{address} is an address, and detect reads files: download it first")
    assert other is None or other in message


def test_detect_blurs(run: Run, photo: Path, tmp_path: Path) -> None:
    code, out, _ = run("detect", photo, photo, "--blur", tmp_path / "blurred", "--confidence", 0.001)
    assert code == 0
    paths = [Path(answer["blurred"]) for answer in json.loads(out)["photos"]]
    assert [path.name for path in paths] == ["scene.blurred.jpg", "scene.blurred-2.jpg"]
    assert sorted((tmp_path / "blurred").iterdir()) == sorted(paths)
    with Image.open(paths[0]) as picture:
        assert (picture.format, picture.size) == ("JPEG", (200, 150))


def heed_ctrl_c() -> None:
    # what a shell starts in the background ignores it, and so do the children
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_detect_interrupted_prints_what_it_has(photo: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    process = subprocess.Popen(
        [*PROGRAM, "detect", str(photo), str(pipe), str(photo)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_ctrl_c,
    )
    writer = when_read(pipe, process)
    # Python looks for signals when a read is interrupted, and not just before it begins.
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    # ... where it may be by now on any machine but the busiest: there, the pipe's end ends the read
    os.close(writer)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "featherface: stopped after 1 of 3 photos\n"
    (answer,) = json.loads(out)["photos"]
    assert answer["path"] == str(photo)
    assert "detections" in answer


def when_read(pipe: Path, process: subprocess.Popen[str]) -> int:
    """Open a pipe for writing as soon as somebody reads it: the second photo's turn has come."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_detect_by_profile(run: Run, photo: Path, tmp_path: Path) -> None:
    profile = tmp_path / "mine.yaml"
    profile.write_text("model: v1\ninput_size: 320\n")
    code, out, _ = run("detect", photo, "--profile", profile)
    assert code == 0
    assert json.loads(out)["model"]["model"] == "v1"


def test_a_wrong_setting_is_a_usage_error(run: Run, photo: Path) -> None:
    code, out, err = run("detect", photo, "--input-size", 333)
    assert (code, out) == (2, "")
    assert "multiple of 32; got 333" in err
    assert "[configuration]" in err


def test_validate_all(run: Run) -> None:
    code, out, _ = run("validate")
    assert code == 0
    assert "trainable parameters: 344,254" in out
    assert "trainable parameters: 487,103" in out
    assert "FAIL" not in out


def test_validate_one(run: Run) -> None:
    code, out, _ = run("validate", "--model", "v1", "--precision", "fp32")
    assert code == 0
    assert "344,254" not in out


def test_validate_a_tampered_file(run: Run, manifest: Manifest, tmp_path: Path) -> None:
    source = manifest.package("nano").file("fp32").path
    data = bytearray(source.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / source.name).write_bytes(data)
    code, out, _ = run("validate", tmp_path / source.name)
    assert code == 1
    assert "ok    size" in out
    assert "FAIL" in out
    assert "[model_hash]" in out


def test_a_checkpoint_is_no_file_to_validate(run: Run, manifest: Manifest) -> None:
    path = manifest.package("nano").file("checkpoint").path
    code, _, err = run("validate", path)
    assert code == 1
    listed = err.partition("it lists")[2]
    assert "featherface_nano.onnx" in listed
    assert path.name not in listed


def test_validate_what_is_not_there_says_so(run: Run, manifest: Manifest) -> None:
    for name in ("other.onnx", manifest.package("nano").file("fp32").path.name):
        code, out, err = run("validate", name)
        assert (code, out) == (1, "")
        assert "cannot be read" in err
        assert "[model_manifest]" in err


def test_validate_what_is_not_listed(run: Run, tmp_path: Path) -> None:
    other = tmp_path / "other.onnx"
    other.write_bytes(b"a network")
    code, out, err = run("validate", other)
    assert (code, out) == (1, "")
    assert "lists no model file 'other.onnx'; it lists featherface_nano.onnx" in err
    assert "[model_manifest]" in err


@pytest.mark.parametrize("path", [(), ("other.onnx",)])
@pytest.mark.parametrize(
    ("option", "value", "known"), [("--model", "big", "nano, v1"), ("--precision", "fp64", "fp32, int8")]
)
def test_validate_refuses_an_unknown_model_as_detect_does(
    path: tuple[str, ...], option: str, value: str, known: str, run: Run
) -> None:
    code, out, err = run("validate", *path, option, value)
    assert (code, out) == (2, "")
    assert f"must be one of {known}; got '{value}' [configuration]" in err


@pytest.mark.parametrize(("option", "value"), [("--model", "v1"), ("--precision", "int8")])
def test_validate_another_file_than_its_name_says(
    option: str, value: str, run: Run, manifest: Manifest
) -> None:
    path = manifest.package("nano").file("fp32").path
    code, out, err = run("validate", path, option, value)
    assert (code, out) == (1, "")
    assert f"{path} is by its name nano fp32, not {value}; give both" in err


def test_validate_names_the_file_that_it_was_given(run: Run, manifest: Manifest, tmp_path: Path) -> None:
    short = tmp_path / "anything.onnx"
    short.write_bytes(b"a network")
    code, out, _ = run("validate", short, "--model", "nano", "--precision", "fp32")
    assert code == 1
    assert f"FAIL  {short} has 9 bytes, the manifest says" in out


# ---------------------------------------------------------------- other packages' commands


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Commands that work, are interrupted, lack a dependency, or are not where their entry points say."""
    (tmp_path / "plugin_good.py").write_text(
        "def command(subparsers):\n"
        "    parser = subparsers.add_parser('good')\n"
        "    parser.add_argument('--times', type=int)\n"
        "    parser.set_defaults(func=lambda arguments: print('ran', arguments.times) or 0)\n"
    )
    (tmp_path / "plugin_lacking.py").write_text("import a_package_that_is_not_installed\n")
    (tmp_path / "plugin_late.py").write_text(
        "def run(arguments):\n"
        "    import a_package_that_is_not_installed\n"
        "def command(subparsers):\n"
        "    subparsers.add_parser('late').set_defaults(func=run, extra='bulk')\n"
    )
    (tmp_path / "plugin_interrupted.py").write_text(
        "def run(arguments):\n"
        "    raise KeyboardInterrupt\n"
        "def command(subparsers):\n"
        "    subparsers.add_parser('interrupted').set_defaults(func=run)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    entries = [
        EntryPoint("interrupted", "plugin_interrupted:command", cli.COMMAND_GROUP),
        EntryPoint("late", "plugin_late:command", cli.COMMAND_GROUP),
        EntryPoint("good", "plugin_good:command", cli.COMMAND_GROUP),
        EntryPoint("lacking", "plugin_lacking:command", cli.COMMAND_GROUP),
        EntryPoint("gone", "plugin_good:gone", cli.COMMAND_GROUP),
    ]
    monkeypatch.setattr(cli, "entry_points", lambda group: entries)
    return tmp_path


def test_a_plugged_command_runs(run: Run, plugged: Path) -> None:
    assert run("good", "--times", 3) == (0, "ran 3\n", "")


@pytest.mark.parametrize("name", ["lacking", "gone"])
def test_a_broken_command_says_what_it_needs(name: str, run: Run, plugged: Path) -> None:
    code, out, err = run(name, "--whatever", 3)
    assert (code, out) == (2, "")
    assert f"{name} cannot be loaded" in err
    assert "pip install" in err


def test_a_command_that_lacks_its_extra_says_how_to_install_it(run: Run, plugged: Path) -> None:
    code, _, err = run("late")
    assert code == 2
    assert "needs a_package_that_is_not_installed; install FeatherFace with it: pip install '.[bulk]'" in err


def test_a_command_that_is_interrupted_says_so_in_a_line(run: Run, plugged: Path) -> None:
    assert run("interrupted") == (130, "", "featherface: stopped\n")


@pytest.mark.parametrize(
    ("name", "hint"),
    [("annotate", "'.[batch]'"), ("evaluate", "'.[evaluation]'"), ("benchmark", ". in the folder")],
)
def test_a_command_of_ours_that_cannot_be_loaded_names_an_extra_that_exists(
    run: Run, plugged: Path, monkeypatch: pytest.MonkeyPatch, name: str, hint: str
) -> None:
    entry = EntryPoint(name, "plugin_lacking:command", cli.COMMAND_GROUP)
    monkeypatch.setattr(cli, "entry_points", lambda group: [entry])
    code, _, err = run(name)
    assert code == 2
    assert f"pip install {hint}" in err


def test_a_reader_that_leaves_early_gets_no_traceback(photo: Path) -> None:
    process = subprocess.Popen(
        [*PROGRAM, "detect", str(photo)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait() == 1


def test_a_broken_command_does_not_break_the_others(run: Run, plugged: Path) -> None:
    assert run("good")[0] == 0
    code, out, _ = run("--help")
    assert code == 0
    assert all(name in out for name in ("detect", "validate", "good", "lacking", "gone"))


def test_an_unknown_command(run: Run) -> None:
    code, _, err = run("detct")
    assert code == 2
    assert "invalid choice" in err
