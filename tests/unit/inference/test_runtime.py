from __future__ import annotations

import logging
import os
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest

from featherface import ModelStructureError, ProviderError
from featherface.runtime import OUTPUTS, Session, usable_cpus

NEEDS_CPU_ONLY = pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this machine has the provider"
)


def test_outputs_by_name(spot_model: bytes) -> None:
    session = Session(spot_model, device="cpu", threads=1)
    shapes = [output.shape for output in session.run(np.zeros((2, 3, 64, 96), dtype=np.float32))]
    priors = 2 * (8 * 12 + 4 * 6 + 2 * 3)
    assert shapes == [(2, priors, 2), (2, priors, 4), (2, priors, 10)]


def test_cpu_is_reported(spot_model: bytes) -> None:
    assert Session(spot_model, device="cpu").provider == "cpu"


@NEEDS_CPU_ONLY
def test_auto_takes_what_is_there(spot_model: bytes, caplog: pytest.LogCaptureFixture) -> None:
    assert Session(spot_model, device="auto").provider == "cpu"
    assert not caplog.records


@NEEDS_CPU_ONLY
@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_required_provider_that_is_missing(device: str, spot_model: bytes) -> None:
    with pytest.raises(ProviderError, match=f"device {device} needs .* which this onnxruntime lacks"):
        Session(spot_model, device=device)


# What onnxruntime does where the GPU build meets a machine without matching libraries: the provider is
# listed, and the session then runs on the CPU without an exception.
@NEEDS_CPU_ONLY
@pytest.mark.filterwarnings("ignore:Specified provider")
class TestSilentFallBack:
    @pytest.fixture(autouse=True)
    def _listed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        names = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)

    @pytest.mark.parametrize("device", ["cuda", "tensorrt"])
    def test_is_an_error_where_the_provider_is_required(
        self, device: str, spot_model: bytes, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(ProviderError, match=f"the {device} provider did not start"):
            Session(spot_model, device=device)
        assert capsys.readouterr().out == ""

    def test_is_a_warning_where_it_is_not(self, spot_model: bytes, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING, "featherface"):
            session = Session(spot_model, device="auto")
        assert session.provider == "cpu"
        assert "the cuda provider did not start" in caplog.text
        session.run(np.zeros((1, 3, 32, 32), dtype=np.float32))

    @pytest.mark.parametrize("device", ["auto", "cpu"])
    def test_comes_after_the_libraries_that_pip_installed_were_loaded(
        self,
        device: str,
        spot_model: bytes,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        loaded = []

        def preload_dlls() -> None:
            loaded.append(True)
            print("Failed to load libcublasLt.so.13")

        monkeypatch.setattr(onnxruntime, "preload_dlls", preload_dlls)
        Session(spot_model, device=device)
        assert loaded == ([] if device == "cpu" else [True])
        assert capsys.readouterr().out == ""


def test_an_unknown_device(spot_model: bytes) -> None:
    with pytest.raises(ProviderError, match="device must be auto, cpu, cuda, tensorrt; got 'npu'"):
        Session(spot_model, device="npu")


@pytest.mark.parametrize("data", [b"", b"not a model", b"\x08\x08"])
def test_what_is_no_model(data: bytes) -> None:
    with pytest.raises(ModelStructureError, match="onnxruntime cannot load the model"):
        Session(data, device="cpu")


def test_other_output_names(spot_model: bytes) -> None:
    model = onnx.load_from_string(spot_model)
    model.graph.output[0].name = model.graph.node[-3].output[0] = "scores"
    with pytest.raises(ModelStructureError, match="must map 'input' to classifications"):
        Session(model.SerializeToString(), device="cpu")


def test_a_wrong_input_is_a_provider_error(spot_model: bytes) -> None:
    with pytest.raises(ProviderError, match=r"CPUExecutionProvider failed on an input of \(1, 4, 32, 32\)"):
        Session(spot_model, device="cpu").run(np.zeros((1, 4, 32, 32), dtype=np.float32))


def test_session_options(spot_model: bytes) -> None:
    options = Session(spot_model, device="cpu", threads=3)._session.get_session_options()
    assert options.intra_op_num_threads == 3
    assert options.inter_op_num_threads == 1
    assert options.enable_mem_pattern is False
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_threads_by_the_cpus_that_may_be_used(spot_model: bytes) -> None:
    assert Session(spot_model, device="cpu").threads == min(usable_cpus(), 4)


def test_usable_cpus_are_within_the_machine() -> None:
    assert 1 <= usable_cpus() <= (os.cpu_count() or 1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_usable_cpus_follow_the_affinity() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from featherface.runtime import usable_cpus; print(usable_cpus())"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "1\n"
    )


def test_output_names_are_the_contract_s() -> None:
    assert OUTPUTS == ("classifications", "bbox_regressions", "landmarks")
