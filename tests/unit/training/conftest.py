import cv2
import numpy as np
import pytest

LANDMARKS = "{0} {1} 0 {2} {1} 0 {3} {4} 0 {0} {5} 0 {2} {5} 0"


@pytest.fixture(scope="session")
def wider(tmp_path_factory):
    """Twelve made photos in a WIDER tree, with a label file: bright squares are the faces."""
    root = tmp_path_factory.mktemp("wider")
    folder = root / "WIDER_train" / "images" / "0--Squares"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(7)
    lines = []
    for i in range(12):
        pixels = rng.integers(0, 90, (240, 320, 3), dtype=np.uint8)
        lines.append(f"# 0--Squares/{i}.jpg")
        for _ in range(i % 3):
            side = int(rng.integers(20, 90))
            x, y = int(rng.integers(0, 320 - side)), int(rng.integers(0, 240 - side))
            pixels[y : y + side, x : x + side] = 220
            points = LANDMARKS.format(
                x + side * 0.3, y + side * 0.4, x + side * 0.7, x + side / 2, y + side / 2, y + side * 0.8
            )
            lines.append(f"{x} {y} {side} {side} {points} 0.9")
        cv2.imwrite(str(folder / f"{i}.jpg"), pixels)
    lines.append("# 0--Squares/not_there.jpg")
    lines.append("1 2 30 40 " + " ".join(["-1"] * 15) + " -1")
    labels = root / "label.txt"
    labels.write_text("\n".join(lines) + "\n")
    return root, labels


@pytest.fixture(scope="session")
def packed(wider, tmp_path_factory):
    pytest.importorskip("torch")
    from featherface_training.data.packed import PackedDataset, pack

    target = tmp_path_factory.mktemp("pack")
    pack(*wider, target)
    return PackedDataset(target)
