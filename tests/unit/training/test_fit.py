import numpy as np
import pytest

from featherface_training.data.wider import LabelError
from featherface_training.evaluation.fit import training_photos
from featherface_training.evaluation.ground_truth import by_height


def test_faces_count_by_their_height():
    boxes = np.array([[0, 0, 90, h] for h in (9, 10, 29, 30, 49, 50)], float)
    counted = by_height(boxes).counted
    assert {level: which.sum() for level, which in counted.items()} == {"easy": 1, "medium": 3, "hard": 5}


def test_photos_of_train_are_chosen_by_the_seed_with_labels_as_the_protocol_has_them(wider):
    truth, photos = training_photos(*wider, 5, seed=3)
    again, _ = training_photos(*wider, 5, seed=3)
    other, _ = training_photos(*wider, 5, seed=4)
    assert list(truth) == list(photos) == list(again) != list(other)
    assert len(truth) == 5
    whole, _ = training_photos(*wider, 99, seed=3)
    assert len(whole) == 12
    # the made faces are squares
    boxes = np.concatenate([photo.boxes for photo in whole.values()])
    np.testing.assert_allclose(boxes[:, 2], boxes[:, 3])
    assert all(path.is_file() for path in photos.values())


def test_photos_that_nobody_labelled_are_no_training_photos(wider, tmp_path):
    labels = tmp_path / "label.txt"
    labels.write_text("# 0--Squares/gone.jpg\n1 2 30 40\n")
    with pytest.raises(LabelError, match="none of the 1 photos"):
        training_photos(wider[0], labels, 5, seed=1)
