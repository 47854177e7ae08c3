import json

import pytest

torch = pytest.importorskip("torch")

from featherface_training.checkpoint import CheckpointError, load_model  # noqa: E402
from featherface_training.config import TrainSettings  # noqa: E402
from featherface_training.data.loader import epoch_batches  # noqa: E402
from featherface_training.train import Trainer, learning_rate  # noqa: E402

SETTINGS = TrainSettings(model="nano", epochs=4, batch=4, size=64, warmup_steps=2, bf16=False)
CPU = torch.device("cpu")


def weights(path):
    return torch.load(path, weights_only=True)


def test_batches_depend_on_seed_epoch_and_position_only(packed):
    wanted = {"seed": 1, "epoch": 2, "batch": 3, "size": 64, "scales": (0.5, 1.0)}
    whole = list(epoch_batches(packed, **wanted))
    late = list(epoch_batches(packed, **wanted, start=2))
    for a, b in zip(whole[2:], late, strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.boxes, b.boxes)
    other = next(epoch_batches(packed, **{**wanted, "epoch": 3}))
    assert not torch.equal(other.images, whole[0].images)


def test_a_resumed_run_ends_with_exactly_the_same_weights(packed, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        Trainer(SETTINGS, packed, tmp_path / "whole", CPU).run(stop_after=7)
        Trainer(SETTINGS, packed, tmp_path / "cut", CPU).run(stop_after=4)
        resumed = Trainer(SETTINGS, packed, tmp_path / "cut", CPU)
        assert resumed.step == 4
        resumed.run(stop_after=7)
    finally:
        torch.set_num_threads(threads)
    whole, cut = weights(tmp_path / "whole" / "last.pt"), weights(tmp_path / "cut" / "last.pt")
    assert whole["step"] == cut["step"] == 7
    for key in ("model_state_dict", "training_state_dict"):
        for name, value in whole[key].items():
            assert torch.equal(value, cut[key][name]), name


def test_other_settings_refuse_to_resume(packed, tmp_path):
    Trainer(SETTINGS, packed, tmp_path, CPU).run(stop_after=1)
    changed = TrainSettings.from_dict({**SETTINGS.to_dict(), "learning_rate": 0.5})
    with pytest.raises(CheckpointError, match="learning_rate"):
        Trainer(changed, packed, tmp_path, CPU)


def test_training_learns_and_logs(packed, tmp_path):
    settings = TrainSettings.from_dict({**SETTINGS.to_dict(), "epochs": 12, "learning_rate": 0.003})
    Trainer(settings, packed, tmp_path, CPU).run()
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(log) == 12
    assert log[-1]["classification"] < log[0]["classification"]
    assert {"images_per_second", "box", "landmark"} <= set(log[0])
    model, entries = load_model(tmp_path / "last.pt")
    assert model.name == "nano"
    assert TrainSettings.from_dict(entries["settings"]) == settings


def test_a_student_hears_its_teacher_and_starts_where_it_is_told(packed, tmp_path):
    Trainer(SETTINGS, packed, tmp_path / "first", CPU).run(stop_after=2)
    teacher_settings = TrainSettings.from_dict({**SETTINGS.to_dict(), "model": "v1"})
    Trainer(teacher_settings, packed, tmp_path / "teacher", CPU).run(stop_after=2)
    teacher, _ = load_model(tmp_path / "teacher" / "last.pt")
    start = tmp_path / "first" / "last.pt"
    student = Trainer(SETTINGS, packed, tmp_path / "second", CPU, start=start, teacher=teacher)
    for name, value in load_model(start)[0].state_dict().items():
        assert torch.equal(student.model.state_dict()[name], value)
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    student.run(stop_after=2)
    assert "distillation" in json.loads((tmp_path / "second" / "log.jsonl").read_text().splitlines()[0])
    for name, value in before.items():
        assert torch.equal(teacher.state_dict()[name], value), "the teacher must not learn"
    with pytest.raises(ValueError, match="holds nano, but the run trains v1"):
        Trainer(teacher_settings, packed, tmp_path / "third", CPU, start=start)


def test_the_rate_warms_up_and_falls_to_a_hundredth():
    settings = TrainSettings(warmup_steps=10, learning_rate=1.0)
    rates = [learning_rate(settings, step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0.01, abs=0.002)


def test_unknown_settings_are_named():
    with pytest.raises(ValueError, match="unknown training settings: learning_rat"):
        TrainSettings.from_dict({"learning_rat": 1})
    with pytest.raises(ValueError, match="multiple of 32, got 300"):
        TrainSettings(size=300)


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    path = tmp_path / "other.pt"
    torch.save({"weights": 1}, path)
    with pytest.raises(CheckpointError, match="model_state_dict"):
        load_model(path)
