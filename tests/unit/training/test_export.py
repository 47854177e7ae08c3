import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from featherface.structure import describe  # noqa: E402
from featherface_training.alignment import AlignmentError, align_channels  # noqa: E402
from featherface_training.checkpoint import save  # noqa: E402
from featherface_training.config import TrainSettings  # noqa: E402
from featherface_training.ema import AveragedModel  # noqa: E402
from featherface_training.export import OPSET, OUTPUT_NAMES, ExportError, check_parity, export_onnx  # noqa: E402
from featherface_training.initialise import InitialisationError, initialise_backbone  # noqa: E402
from featherface_training.models import EXPECTED_PARAMETERS, build_model  # noqa: E402


@pytest.fixture(scope="module", params=["v1", "nano"])
def exported(request, trained_looking, tmp_path_factory):
    model = trained_looking(request.param)
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    export_onnx(model, path)
    return model, path


def test_export_equals_pytorch_and_keeps_every_parameter(exported):
    model, path = exported
    assert check_parity(model, path.read_bytes()) <= 1e-4
    assert describe(path.read_bytes())["parameters"] == EXPECTED_PARAMETERS[model.name]["total"]


def test_batch_norm_is_not_folded_and_axes_are_dynamic(exported):
    _, path = exported
    graph = onnx.load(str(path))
    assert graph.opset_import[0].version == OPSET
    assert sum(n.op_type == "BatchNormalization" for n in graph.graph.node) > 40
    shape = graph.graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in shape] == ["batch", 3, "height", "width"]
    assert tuple(o.name for o in graph.graph.output) == OUTPUT_NAMES


def test_wide_maps_have_channels_in_fours_once_a_session_is_made(exported, tmp_path):
    model, path = exported
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "folded.onnx")
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    graph = onnx.load(options.optimized_model_filepath).graph
    weights = {t.name: t.dims for t in graph.initializer}
    convolutions = [n for n in graph.node if n.op_type == "Conv"]
    odd = {n.name for n in convolutions if weights[n.input[1]][1] > 16 and weights[n.input[1]][1] % 4}
    # the heads pick 74 of V1's 76
    assert all(name.startswith("/heads.") for name in odd)
    assert not any(n.op_type == "Pad" for n in graph.node)
    assert any(n.op_type == "Pad" for n in onnx.load(str(path)).graph.node) == (model.name == "v1")


@pytest.mark.parametrize("operator", ["Softmax", "Exp", "Transpose"])
def test_an_operator_that_might_mix_or_move_padded_channels_is_refused(operator):
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Conv", ["x", "w"], ["wide"]),
            onnx.helper.make_node(operator, ["wide"], ["y"], name="after"),
        ],
        "small",
        [],
        [],
        [onnx.numpy_helper.from_array(np.ones((18, 3, 1, 1), np.float32), "w")],
    )
    with pytest.raises(AlignmentError, match=f"{operator} after takes padded channels"):
        align_channels(graph)


def test_parity_notices_one_changed_weight(exported):
    model, path = exported
    other = build_model(model.name).eval()
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        other.heads[0].box.bias[0] += 0.001
    with pytest.raises(ExportError, match="differs from PyTorch"):
        check_parity(other, path.read_bytes())


def test_a_folded_detector_gives_back_the_same_backbone(tmp_path):
    torch.manual_seed(0)
    source = build_model("nano").backbone.train()
    sample = torch.randn(4, 3, 96, 96) * 60
    with torch.no_grad():
        source(sample)
    source.eval()
    path = tmp_path / "folded.onnx"
    torch.onnx.export(source, (sample[:1],), str(path), opset_version=17, dynamo=False)
    assert not any(n.op_type == "BatchNormalization" for n in onnx.load(str(path)).graph.node)
    target = build_model("nano").backbone
    initialise_backbone(target, path, sample)
    with torch.no_grad():
        expected = source(sample)
        for mode in (target.eval(), target.train()):
            for ours, theirs in zip(mode(sample), expected, strict=True):
                torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=1e-3)


def test_a_model_can_start_from_the_backbone_of_the_other(trained_looking, tmp_path):
    source, target, path = trained_looking("v1"), build_model("nano"), tmp_path / "v1.pt"
    before = {key: value.clone() for key, value in target.state_dict().items()}
    averaged = AveragedModel(source, 0.9)
    save(path, TrainSettings(model="v1"), 1, source, averaged, torch.optim.SGD(source.parameters()))
    initialise_backbone(target.backbone, path, torch.zeros(1, 3, 32, 32))
    for key, value in target.state_dict().items():
        wanted = averaged.model.state_dict() if key.startswith("backbone.") else before
        torch.testing.assert_close(value, wanted[key], atol=0, rtol=0)


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"state_dict": {"fc.weight": torch.zeros(2)}}, path)
    with pytest.raises(InitialisationError, match=r"lacks 162 tensors of MobileNetV1-0\.25"):
        initialise_backbone(build_model("nano").backbone, path, torch.zeros(1, 3, 32, 32))
