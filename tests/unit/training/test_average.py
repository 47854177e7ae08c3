"""Averaging weights: the mean of what it is told, of runs that led to one another, and the story of how."""

import pytest

torch = pytest.importorskip("torch")

from featherface_training.average import main  # noqa: E402
from featherface_training.checkpoint import CheckpointError, load_model, stages  # noqa: E402
from featherface_training.config import TrainSettings  # noqa: E402
from featherface_training.trainer import Trainer  # noqa: E402

CPU = torch.device("cpu")
SETTINGS = TrainSettings(
    model="nano", batch=4, sizes=(64,), steps=2, warmup_steps=1, learning_rate=0.01, bf16=False
)


@pytest.fixture(scope="module")
def runs(mixture, tmp_path_factory):
    """Three runs, each from the weights of the one before."""
    root = tmp_path_factory.mktemp("runs")
    start, found = None, []
    for seed in range(3):
        settings = TrainSettings.from_dict({**SETTINGS.to_dict(), "seed": seed})
        Trainer(settings, mixture, root / str(seed), CPU, start=start).run()
        start = root / str(seed) / "last.pt"
        found.append(start)
    return found


def test_weights_and_statistics_are_the_mean(runs, tmp_path):
    output = tmp_path / "new" / "mean.pt"
    main([str(output), str(runs[2]), "--with", f"{runs[0]}=0.25", "--with", f"{runs[1]}=0.25"])
    mean = load_model(output)[0].state_dict()
    first, second, third = (load_model(run)[0].state_dict() for run in runs)
    moved = 0
    for name, value in mean.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, (first[name] + second[name] + 2 * third[name]) / 4)
            moved += not torch.equal(value, third[name])
        else:
            assert torch.equal(value, third[name])
    assert moved


def test_the_checkpoint_says_how_it_came_about_and_the_next_run_passes_it_on(runs, mixture, tmp_path):
    output = tmp_path / "mean.pt"
    main([str(output), str(runs[2]), "--with", f"{runs[0]}=0.25"])
    told = stages(load_model(output)[1])
    assert [stage["settings"]["seed"] for stage in told] == [0, 1, 2]
    assert told[2]["average"] == [{"stage": 1, "weight": 0.25}, {"stage": 3, "weight": 0.75}]
    assert not any("average" in stage for stage in told[:2])
    Trainer(SETTINGS, mixture, tmp_path / "next", CPU, start=output).run(stop_after=1)
    assert load_model(tmp_path / "next" / "last.pt")[1]["history"] == told
    again = tmp_path / "again.pt"
    main([str(again), str(tmp_path / "next" / "last.pt"), "--with", f"{output}=0.5"])
    assert stages(load_model(again)[1])[3]["average"] == [
        {"stage": 3, "weight": 0.5},
        {"stage": 4, "weight": 0.5},
    ]


def test_what_did_not_lead_to_the_last_run_is_refused(runs, tmp_path):
    for last, other in ((runs[0], runs[1]), (runs[1], runs[1])):
        with pytest.raises(CheckpointError, match="did not start from"):
            main([str(tmp_path / "mean.pt"), str(last), "--with", f"{other}=0.5"])
    assert not (tmp_path / "mean.pt").exists()


@pytest.mark.parametrize("weight", ["0", "1", "-0.5", "nan"])
def test_weights_that_leave_nothing_are_refused(runs, tmp_path, weight):
    with pytest.raises(CheckpointError, match="leave some of 1"):
        main([str(tmp_path / "mean.pt"), str(runs[1]), "--with", f"{runs[0]}={weight}"])


def test_a_checkpoint_without_a_weight_is_a_usage_error(runs, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([str(tmp_path / "mean.pt"), str(runs[1]), "--with", str(runs[0])])
    assert "expected CHECKPOINT=WEIGHT" in capsys.readouterr().err
