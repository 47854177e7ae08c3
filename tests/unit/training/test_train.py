import json
import threading

import pytest

torch = pytest.importorskip("torch")

from featherface.packages import find_models_folder  # noqa: E402
from featherface_training.checkpoint import CheckpointError, load_model  # noqa: E402
from featherface_training.config import TrainSettings  # noqa: E402
from featherface_training.data.augment import AugmentSettings  # noqa: E402
from featherface_training.data.loader import epoch_batches  # noqa: E402
from featherface_training.losses.matching import match  # noqa: E402
from featherface_training.losses.multitask import LossSettings  # noqa: E402
from featherface_training.optimisation import learning_rate  # noqa: E402
from featherface_training.teachers.ahead import ahead  # noqa: E402
from featherface_training.trainer import Trainer  # noqa: E402

SETTINGS = TrainSettings(model="nano", epochs=4, batch=4, sizes=(64,), warmup_steps=2, bf16=False)
AUGMENTED = AugmentSettings(scales=(0.5, 1.0), degrade=0.5, mosaic=0.5)
CPU = torch.device("cpu")


def weights(path):
    return torch.load(path, weights_only=True)


def test_batches_depend_on_seed_epoch_and_position_only(mixture):
    wanted = {"seed": 1, "epoch": 2, "batch": 3, "sizes": (64, 96), "augmentation": AUGMENTED}
    whole = list(epoch_batches(mixture, **wanted))
    late = list(epoch_batches(mixture, **wanted, start=2))
    for a, b in zip(whole[2:], late, strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.boxes, b.boxes)
    other = next(epoch_batches(mixture, **{**wanted, "epoch": 3}))
    assert not torch.equal(other.images, whole[0].images)


@pytest.mark.parametrize(("ranking", "muon"), [(0.0, 0.0), (2.0, 0.0), (0.0, 2.0)])
def test_a_resumed_run_ends_with_exactly_the_same_weights(mixture, tmp_path, ranking, muon):
    values = {**SETTINGS.to_dict(), "muon_rate": muon}
    settings = TrainSettings.from_dict({**values, "ranking": {"weight": ranking, "crops": 11, "least": 3}})
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        Trainer(settings, mixture, tmp_path / "whole", CPU).run(stop_after=7)
        Trainer(settings, mixture, tmp_path / "cut", CPU).run(stop_after=4)
        resumed = Trainer(settings, mixture, tmp_path / "cut", CPU)
        assert resumed.step == 4
        resumed.run(stop_after=7)
    finally:
        torch.set_num_threads(threads)
    whole, cut = weights(tmp_path / "whole" / "last.pt"), weights(tmp_path / "cut" / "last.pt")
    assert whole["step"] == cut["step"] == 7
    for key in ("model_state_dict", "training_state_dict"):
        for name, value in whole[key].items():
            assert torch.equal(value, cut[key][name]), name


def test_only_the_named_parts_are_trained(mixture, tmp_path):
    settings = TrainSettings.from_dict({**SETTINGS.to_dict(), "parts": ["context.2", "heads.2"]})
    trainer = Trainer(settings, mixture, tmp_path, CPU)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.run(stop_after=3)
    after = weights(tmp_path / "last.pt")["training_state_dict"]
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed
    assert all(name.startswith(("context.2.", "heads.2.")) for name in changed)
    # statistics too
    assert any(name.endswith("running_mean") for name in changed)
    # what the parts don't touch is what it was, to the last bit
    averaged, _ = load_model(tmp_path / "last.pt")
    for name, value in averaged.state_dict().items():
        assert name in changed or torch.equal(value, before[name]), name


def test_an_unknown_part_is_told(mixture, tmp_path):
    settings = TrainSettings.from_dict({**SETTINGS.to_dict(), "parts": ["heads.9"]})
    with pytest.raises(ValueError, match=r"heads\.9"):
        Trainer(settings, mixture, tmp_path, CPU)


def test_frozen_statistics_stay_while_all_weights_learn(mixture, tmp_path):
    Trainer(SETTINGS, mixture, tmp_path / "first", CPU).run(stop_after=1)
    start = tmp_path / "first" / "last.pt"
    settings = TrainSettings.from_dict({**SETTINGS.to_dict(), "frozen_statistics": True})
    trainer = Trainer(settings, mixture, tmp_path, CPU, start=start)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.run(stop_after=3)
    after = weights(tmp_path / "last.pt")["training_state_dict"]
    statistics = {name for name in before if "running" in name or name.endswith("num_batches_tracked")}
    kept = {name for name, value in before.items() if torch.equal(value, after[name])}
    assert statistics
    assert statistics <= kept
    learnt = {name for name, _ in trainer.model.named_parameters()} - kept
    assert any(name.startswith("backbone.") for name in learnt)
    assert any(name.startswith("heads.") for name in learnt)


def test_simota_is_told_what_the_network_predicts(mixture, tmp_path, monkeypatch):
    told = []

    def noting(priors, boxes, owners, images, **how):
        told.append(how["predicted"])
        return match(priors, boxes, owners, images, **how)

    monkeypatch.setattr("featherface_training.trainer.match", noting)
    for matching in ("atss", "simota"):
        values = SETTINGS.to_dict()
        settings = TrainSettings.from_dict({**values, "loss": {**values["loss"], "matching": matching}})
        trainer = Trainer(settings, mixture, tmp_path / matching, CPU)
        trainer.run(stop_after=1)
    without, predicted = told
    assert without is None
    assert predicted.boxes.shape == (*predicted.margins.shape, 4)
    assert not predicted.boxes.requires_grad
    assert not predicted.margins.requires_grad


def test_an_untrained_network_has_no_statistics_to_freeze(mixture, tmp_path):
    settings = TrainSettings.from_dict({**SETTINGS.to_dict(), "frozen_statistics": True})
    with pytest.raises(ValueError, match="give one to start from"):
        Trainer(settings, mixture, tmp_path, CPU)


def test_other_settings_refuse_to_resume(mixture, tmp_path):
    Trainer(SETTINGS, mixture, tmp_path, CPU).run(stop_after=1)
    changed = TrainSettings.from_dict({**SETTINGS.to_dict(), "learning_rate": 0.5})
    with pytest.raises(CheckpointError, match="learning_rate"):
        Trainer(changed, mixture, tmp_path, CPU)


def test_training_learns_and_logs(mixture, tmp_path):
    settings = TrainSettings.from_dict({**SETTINGS.to_dict(), "epochs": 12, "learning_rate": 0.003})
    Trainer(settings, mixture, tmp_path, CPU).run()
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(log) == 12
    assert log[-1]["classification"] < log[0]["classification"]
    assert {"images_per_second", "box", "landmark"} <= set(log[0])
    model, entries = load_model(tmp_path / "last.pt")
    assert model.name == "nano"
    assert TrainSettings.from_dict(entries["settings"]) == settings


def test_a_teacher_looks_twice_if_the_settings_say_so(mixture, tmp_path):
    start, logged = find_models_folder() / "nano_efficient" / "featherface_nano.pth", {}
    for mirror in (False, True):
        distillation = {"alpha": 1.0, "box_weight": 0.0, "mirror": mirror}
        values = {**SETTINGS.to_dict(), "frozen_statistics": True, "distillation": distillation}
        settings = TrainSettings.from_dict(values)
        folder = tmp_path / f"mirror-{mirror}"
        Trainer(settings, mixture, folder, CPU, start=start, teachers=[start]).run(stop_after=1)
        logged[mirror] = json.loads((folder / "log.jsonl").read_text().splitlines()[0])["distillation"]
    # before its first step a student differs from itself by the mirror alone
    assert logged[False] == 0
    assert logged[True] > 0.001


@pytest.mark.parametrize("focus", [0.0, 0.9])
def test_a_student_hears_its_teacher_and_starts_where_it_is_told(mixture, tmp_path, focus):
    Trainer(SETTINGS, mixture, tmp_path / "first", CPU).run(stop_after=2)
    teacher_settings = TrainSettings.from_dict({**SETTINGS.to_dict(), "model": "v1"})
    Trainer(teacher_settings, mixture, tmp_path / "teacher", CPU).run(stop_after=2)
    teacher = tmp_path / "teacher" / "last.pt"
    start = tmp_path / "first" / "last.pt"
    distillation = {"feature_weight": 0.1, "feature_focus": focus}
    settings = TrainSettings.from_dict({**SETTINGS.to_dict(), "distillation": distillation})
    student = Trainer(settings, mixture, tmp_path / "second", CPU, start=start, teachers=[teacher])
    for name, value in load_model(start)[0].state_dict().items():
        assert torch.equal(student.model.state_dict()[name], value)
    adapter = student.adapter.state_dict()["teachers.0.0.weight"].clone()
    student.run(stop_after=2)
    logged = json.loads((tmp_path / "second" / "log.jsonl").read_text().splitlines()[0])
    assert {"distillation", "features"} <= set(logged)
    assert not torch.equal(student.adapter.state_dict()["teachers.0.0.weight"], adapter)
    for name, value in load_model(teacher)[0].state_dict().items():
        assert torch.equal(student.teacher.ours[0].state_dict()[name], value), "the teacher must not learn"
    again = Trainer(settings, mixture, tmp_path / "second", CPU, start=start, teachers=[teacher])
    assert torch.equal(
        again.adapter.state_dict()["teachers.0.0.weight"], student.adapter.teachers[0][0].weight
    )
    history = load_model(tmp_path / "second" / "last.pt")[1]["history"]
    assert history == [{"settings": SETTINGS.to_dict(), "steps": 2}]
    with pytest.raises(ValueError, match="holds nano, but the run trains v1"):
        Trainer(teacher_settings, mixture, tmp_path / "third", CPU, start=start)


def test_an_adapter_may_go_on_where_the_run_before_left_it(mixture, peers, tmp_path):
    def trainer(name, start=None, **distillation):
        chosen = {"answers_weight": 1.0, "feature_weight": 0.1, "feature_teachers": "all", **distillation}
        settings = TrainSettings.from_dict({**SETTINGS.to_dict(), "distillation": chosen})
        teachers = [peers.make_with_levels("yunet")]
        return Trainer(settings, mixture, tmp_path / name, CPU, start=start, teachers=teachers)

    first = trainer("first")
    first.run(stop_after=2)
    learnt = first.adapter.state_dict()
    assert learnt["teachers.0.0.weight"].any()
    start = tmp_path / "first" / "last.pt"
    again = trainer("again", start, keep_adapter=True)
    torch.testing.assert_close(again.adapter.state_dict(), learnt)
    assert not trainer("anew", start).adapter.state_dict()["teachers.0.0.weight"].any()
    with pytest.raises(CheckpointError, match="for the same teachers"):
        trainer("larger", start, keep_adapter=True, enlarge=2)
    with pytest.raises(CheckpointError, match="but no checkpoint has none such"):
        trainer("nowhere", keep_adapter=True)


def test_a_detector_without_the_students_priors_teaches_alone_by_its_answers(mixture, peers, tmp_path):
    teacher = peers.make_with_levels("yunet")
    distillation = {"answers_weight": 1.0, "feature_weight": 0.1, "feature_teachers": "all"}
    settings = TrainSettings.from_dict({**SETTINGS.to_dict(), "distillation": distillation})
    Trainer(settings, mixture, tmp_path / "heard", CPU, teachers=[teacher]).run(stop_after=2)
    logged = json.loads((tmp_path / "heard" / "log.jsonl").read_text().splitlines()[0])
    assert logged["answers"] > 0
    assert "distillation" not in logged
    alone = TrainSettings.from_dict(
        {**settings.to_dict(), "distillation": {**distillation, "answers_weight": 0}}
    )
    with pytest.raises(ValueError, match="or YuNet and an answers_weight"):
        Trainer(alone, mixture, tmp_path / "alone", CPU, teachers=[teacher])


def test_two_detectors_answer_for_small_and_for_large_faces(mixture, peers, tmp_path):
    teachers = [peers.make_with_levels("yunet"), peers.make_with_levels("centerface")]
    logged = []
    for name, kinds, least in (("both", teachers, 1), ("one", teachers[:1], 0)):
        distillation = {"answers_weight": 1.0, "answers_up_to": 16, "large_answers_from": least}
        settings = TrainSettings.from_dict({**SETTINGS.to_dict(), "distillation": distillation})
        Trainer(settings, mixture, tmp_path / name, CPU, teachers=kinds).run(stop_after=1)
        logged.append(json.loads((tmp_path / name / "log.jsonl").read_text().splitlines()[0])["answers"])
    # nobody is to answer for a face so large when YuNet is alone
    assert logged[0] > 0
    assert logged[1] == 0


def test_teachers_asked_ahead_teach_the_same(mixture, peers, tmp_path):
    teachers = [peers.make_with_levels("yunet"), peers.make_with_levels("centerface")]
    distillation = {"answers_weight": 1.0, "answers_up_to": 16, "large_answers_from": 1}
    settings = TrainSettings.from_dict({**SETTINGS.to_dict(), "bf16": True, "distillation": distillation})
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for asking in (0, 1, 2):
            trainer = Trainer(
                settings, mixture, tmp_path / str(asking), CPU, teachers=teachers, teacher_threads=asking
            )
            # an epoch has fewer batches: the last ones, with none behind them, are trained on, too
            trainer.run(stop_after=trainer.steps_per_epoch + 1)
    finally:
        torch.set_num_threads(threads)
    logs = [(tmp_path / str(asking) / "log.jsonl").read_text().splitlines() for asking in (0, 1, 2)]
    assert [len(log) for log in logs] == [2, 2, 2]
    asked = weights(tmp_path / "0" / "last.pt")["training_state_dict"]
    for asking in (1, 2):
        for name, value in weights(tmp_path / str(asking) / "last.pt")["training_state_dict"].items():
            assert torch.equal(value, asked[name]), name


def test_threads_that_ask_leave_the_cast_weights_of_the_step_alone(mixture, peers, tmp_path, monkeypatch):
    dropped_by = []
    drop = torch.clear_autocast_cache

    def noted():
        dropped_by.append(threading.current_thread())
        drop()

    monkeypatch.setattr(torch, "clear_autocast_cache", noted)
    distillation = {"answers_weight": 1.0, "answers_up_to": 16}
    settings = TrainSettings.from_dict({**SETTINGS.to_dict(), "bf16": True, "distillation": distillation})
    teachers = [peers.make_with_levels("yunet")]
    Trainer(settings, mixture, tmp_path, CPU, teachers=teachers, teacher_threads=2).run(stop_after=2)
    assert set(dropped_by) == {threading.main_thread()}


def test_what_fails_ahead_is_raised_in_its_turn():
    def inverse(number):
        return 1 / number

    found = ahead(inverse, [1, 2, 0, 4], 3)
    assert [next(found), next(found)] == [(1, 1.0), (2, 0.5)]
    with pytest.raises(ZeroDivisionError):
        next(found)


def test_no_more_than_the_threads_are_read_ahead():
    read = []
    found = ahead(str, (read.append(i) or i for i in range(9)), 2)
    assert next(found) == (0, "0")
    assert read == [0, 1, 2]
    assert [item for item, _ in found] == list(range(1, 9))


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
    with pytest.raises(ValueError, match=r"multiples of 32, got \(320, 300\)"):
        TrainSettings(sizes=(320, 300))
    with pytest.raises(ValueError, match="unknown training settings: bx"):
        TrainSettings.from_dict({"loss": {"bx": "giou"}})


def test_some_settings_may_be_others_by_their_names():
    settings = TrainSettings(seed=3, loss=LossSettings(box="eiou"))
    other = settings.overridden({"loss.landmark": "wing", "sizes": [64], "shares": {"more": 0.5}})
    assert (other.seed, other.sizes, other.shares) == (3, (64,), {"more": 0.5})
    assert other.loss == LossSettings(box="eiou", landmark="wing")
    for name in ("los.box", "loss.bx", "seed.x"):
        with pytest.raises(ValueError, match=r"unknown training settings: (los|bx|seed\.x)$"):
            settings.overridden({name: 1})


def test_settings_survive_json():
    settings = TrainSettings(
        sizes=(320, 640), shares={"clothing": 0.2}, augmentation=AUGMENTED, loss=LossSettings(box="eiou")
    )
    assert TrainSettings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


def test_a_schedule_may_be_given_in_steps(mixture, tmp_path):
    settings = TrainSettings.from_dict({**SETTINGS.to_dict(), "steps": 5})
    trainer = Trainer(settings, mixture, tmp_path, CPU)
    assert trainer.total_steps == 5
    trainer.run()
    assert trainer.step == 5


def test_feature_distillation_needs_a_teacher_with_such_features(mixture, tmp_path):
    import onnx
    from onnx import TensorProto, helper

    outputs = [(name, n) for name, n in (("loc", 4), ("conf", 2), ("marks", 10))]
    graph = helper.make_graph(
        [
            helper.make_node("Constant", [], [name], value=helper.make_tensor("v", 1, (1, 1, n), [0.5] * n))
            for name, n in outputs
        ],
        "retinaface",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, (1, 3, 64, 64))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 1, n)) for name, n in outputs],
    )
    path = tmp_path / "foreign.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    settings = TrainSettings.from_dict({**SETTINGS.to_dict(), "distillation": {"feature_weight": 0.1}})
    with pytest.raises(ValueError, match="feature_weight needs a FeatherFace"):
        Trainer(settings, mixture, tmp_path / "run", CPU, teachers=[path])


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    path = tmp_path / "other.pt"
    torch.save({"weights": 1}, path)
    with pytest.raises(CheckpointError, match="model_state_dict"):
        load_model(path)
