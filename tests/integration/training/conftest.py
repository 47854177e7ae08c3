import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

PHOTOS = Path(__file__).parents[3] / "examples" / "photos"


def cells(*rows):
    out = np.empty((len(rows), 1), object)
    for i, row in enumerate(rows):
        out[i, 0] = row
    return out


@pytest.fixture(scope="session")
def wider_val(tmp_path_factory):
    """A WIDER val root of two photos, one more in the ground truth only, and the four .mat files."""
    root = tmp_path_factory.mktemp("wider_val")
    folder = root / "WIDER_val" / "images" / "0--Portraits"
    folder.mkdir(parents=True)
    for name in ("grace_hopper", "rocket"):
        shutil.copy(PHOTOS / f"{name}.jpg", folder / f"{name}.jpg")
    truth = root / "truth"
    truth.mkdir()
    names = [np.array([n]) for n in ("grace_hopper", "rocket", "not_there")]
    events = cells(np.array(["0--Portraits"]))
    files = cells(cells(*names))
    boxes = cells(
        cells(np.array([[168.0, 95.0, 167.0, 226.0], [0, 0, 9, 9]]), np.zeros((0, 4)), np.ones((1, 4)))
    )
    savemat(truth / "wider_face_val.mat", {"event_list": events, "file_list": files, "face_bbx_list": boxes})
    for level in ("easy", "medium", "hard"):
        counted = cells(cells(np.array([[1]]), np.zeros((0, 1)), np.array([[1]])))
        savemat(truth / f"wider_{level}_val.mat", {"gt_list": counted})
    return root, truth
