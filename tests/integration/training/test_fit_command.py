"""The command on two photos as val, and on one of them, labelled by the test, as train."""

import shutil

from featherface_training.evaluation.fit import main

PERFECT = "1.0000 / 1.0000 / 1.0000"


def test_a_model_is_judged_on_train_and_on_val(wider_val, tmp_path, capsys):
    root, truth = wider_val
    (tmp_path / "WIDER_val").symlink_to(root / "WIDER_val")
    folder = tmp_path / "WIDER_train" / "images" / "0--Portraits"
    folder.mkdir(parents=True)
    shutil.copy(root / "WIDER_val" / "images" / "0--Portraits" / "grace_hopper.jpg", folder / "hers.jpg")
    labels = tmp_path / "label.txt"
    labels.write_text("# 0--Portraits/hers.jpg\n168 95 167 226\n")
    arguments = ["--wider", str(tmp_path), "--labels", str(labels), "--ground-truth", str(truth)]
    main([*arguments, "--model", "v1", "--model", "nano", "--size", "640", "--threads", "1"])
    train, *first, val, third, fourth = capsys.readouterr().out.splitlines()
    assert train == "train, 1 photos, size 640"
    assert [line.split(maxsplit=1) for line in first] == [["v1", PERFECT], ["nano", PERFECT]]
    # on val a face of 9 px beside hers is ignored at every level
    assert val == "val, 2 photos, size 640"
    assert [line.split(maxsplit=1)[1] for line in (third, fourth)] == [PERFECT] * 2
