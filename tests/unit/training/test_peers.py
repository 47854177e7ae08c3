"""The peers' decodings, each from a network whose outputs are constants written by hand."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("cv2")

from onnx import numpy_helper  # noqa: E402

from featherface_training.evaluation.detectors import open_detector  # noqa: E402
from featherface_training.evaluation.errors import EvaluationError  # noqa: E402
from featherface_training.evaluation.peers import Peer  # noqa: E402

PHOTO = np.zeros((64, 64, 3), np.uint8)


@pytest.mark.parametrize("kind", ["scrfd", "retinaface", "yunet", "centerface"])
def test_a_peers_face_is_decoded_to_where_it_was_written(kind, peers):
    found = Peer(peers.make(kind), threads=1)(PHOTO, 64)
    np.testing.assert_allclose(found.boxes, [peers.box], atol=1e-3)
    np.testing.assert_allclose(found.scores, [0.9], atol=1e-6)
    np.testing.assert_allclose(found.landmarks, [peers.points], atol=1e-3)


def test_faces_come_in_the_photos_own_frame(peers):
    found = Peer(peers.make("yunet"), threads=1)(np.zeros((128, 128, 3), np.uint8), 64)
    np.testing.assert_allclose(found.boxes, [peers.box * 2], atol=1e-3)
    np.testing.assert_allclose(found.landmarks, [peers.points * 2], atol=1e-3)


def test_weak_and_doubled_faces_are_left_out(peers):
    assert len(Peer(peers.make("yunet"), threshold=0.95, threads=1)(PHOTO, 64).scores) == 0
    path = peers.make("scrfd")
    model = onnx.load(str(path))
    for node in model.graph.node:
        value = numpy_helper.to_array(node.attribute[0].t).copy()
        if value.shape[1] == 128:
            value[0, 72] = value[0, 73] * (0.9 if value.shape[2] == 1 else 1)
            node.attribute[0].t.CopyFrom(numpy_helper.from_array(value))
    onnx.save(model, str(path))
    assert Peer(path, threads=1)(PHOTO, 64).scores.tolist() == pytest.approx([0.9])


def test_another_network_is_refused(peers):
    path = peers.write("other", {"one": np.zeros((1, 2))})
    with pytest.raises(EvaluationError, match="expected SCRFD, RetinaFace, YuNet or CenterFace"):
        Peer(path)


def test_an_evaluation_takes_a_peer_by_its_path(peers):
    import cv2

    detect = open_detector(str(peers.make("scrfd")), "original", threads=1)
    rows = detect(cv2.imencode(".png", PHOTO)[1].tobytes())
    np.testing.assert_allclose(rows, [[16, 8, 32, 48, 0.9]], atol=1e-3)


def test_a_fixed_input_that_is_too_small_says_so(peers):
    path = peers.write("fixed", peers.scrfd(), (1, 3, 64, 64))
    with pytest.raises(EvaluationError, match="takes 64x64 pixels only, and the photo needs 96x96"):
        Peer(path, threads=1)(PHOTO, 96)
