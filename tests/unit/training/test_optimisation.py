import pytest

torch = pytest.importorskip("torch")

from featherface_training.config import TrainSettings  # noqa: E402
from featherface_training.models.featherface import build_model  # noqa: E402
from featherface_training.optimisation import make_optimizer, train_only  # noqa: E402

RATE, MUON = 1e-3, 2.0
SETTINGS = TrainSettings(learning_rate=RATE, weight_decay=0.0, muon_rate=MUON)


@pytest.fixture(params=["v1", "nano"])
def model(request):
    torch.manual_seed(3)
    return build_model(request.param).to(memory_format=torch.channels_last).train()


def step(model, optimizer, side=64):
    """Step once, and return how far each weight went."""
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer.zero_grad()
    sum(output.square().sum() for output in model(torch.randn(2, 3, side, side))).backward()
    optimizer.step()
    return {name: p.detach() - before[name] for name, p in model.named_parameters()}


def test_muon_moves_all_directions_of_a_dense_convolution_alike(model):
    optimizer = make_optimizer(model, None, SETTINGS)
    optimizer.set_rate(RATE)
    # at stride 32 there must be more places than a matrix has rows, or its gradient has few directions
    moved = step(model, optimizer, side=416)
    dense = {
        f"{name}.weight"
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Conv2d) and layer.groups == 1 and layer.in_channels > 3
    }
    matrices = {name for name in dense if name.startswith(("backbone.", "bifpn.", "context."))}
    assert {name.split(".")[0] for name in matrices} >= {"backbone", "bifpn"}
    for name in matrices:
        change = moved[name].permute(0, 2, 3, 1).flatten(1)
        # Liu et al. (2025), eq. 4: singular values of 0.2 * rate * sqrt(the longer side), which
        # Newton and Schulz's five steps leave between 0.7 and 1.2 times (Jordan, 2024)
        values = torch.linalg.svdvals(change) / (0.2 * RATE * MUON * max(change.shape) ** 0.5)
        assert values.median() == pytest.approx(0.95, abs=0.25), name
        assert values.max() < 1.3, name


def test_adamw_moves_the_rest(model):
    alone = make_optimizer(model, None, TrainSettings(learning_rate=RATE, weight_decay=0.0))
    start = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(5)
    by_adamw = step(model, alone)
    model.load_state_dict(start)
    both = make_optimizer(model, None, SETTINGS)
    both.set_rate(RATE)
    torch.manual_seed(5)
    moved = step(model, both)
    for name in moved:
        if not name.startswith(("backbone.", "bifpn.", "context.")):
            assert torch.equal(moved[name], by_adamw[name]), name
    # the stem, depthwise convolutions and vectors
    for name in ("backbone.stage1.0.0.weight", "backbone.stage1.1.0.weight", "backbone.stage1.0.1.bias"):
        assert torch.equal(moved[name], by_adamw[name]), name


def test_what_is_not_trained_stays_with_muon_too(model):
    train_only(model, ["context.0", "heads.0"])
    optimizer = make_optimizer(model, None, SETTINGS)
    optimizer.set_rate(RATE)
    moved = step(model, optimizer)
    assert {name.rsplit(".", 1)[0] for name, change in moved.items() if change.any()}
    assert all(name.startswith(("context.0.", "heads.0.")) for name, change in moved.items() if change.any())


def test_a_rate_below_zero_is_refused():
    with pytest.raises(ValueError, match="muon_rate"):
        TrainSettings(muon_rate=-1.0)
