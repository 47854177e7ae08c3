import pytest

torch = pytest.importorskip("torch")

from featherface_training.models import EXPECTED_PARAMETERS, build_model, count_parameters  # noqa: E402
from featherface_training.models.layers import ChannelShuffle  # noqa: E402


@pytest.mark.parametrize("name", ["v1", "nano"])
def test_every_part_has_exactly_the_published_parameters(name):
    assert count_parameters(build_model(name)) == EXPECTED_PARAMETERS[name]


def test_totals_are_the_published_ones():
    assert EXPECTED_PARAMETERS["v1"]["total"] == 487_103
    assert EXPECTED_PARAMETERS["nano"]["total"] == 344_254
    for parts in EXPECTED_PARAMETERS.values():
        assert sum(count for part, count in parts.items() if part != "total") == parts["total"]


@pytest.mark.parametrize("name", ["v1", "nano"])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (96, 160)])
def test_outputs_have_two_priors_a_cell(name, height, width):
    outputs = build_model(name).eval()(torch.zeros(2, 3, height, width))
    priors = sum(2 * (height // s) * (width // s) for s in (8, 16, 32))
    assert [tuple(o.shape) for o in outputs] == [(2, priors, 2), (2, priors, 4), (2, priors, 10)]


def test_nano_shares_one_spatial_gate_between_levels():
    nano = build_model("nano")
    assert len({id(cbam.spatial) for cbam in nano.backbone_attention}) == 1
    assert len({id(cbam.spatial) for cbam in build_model("v1").backbone_attention}) == 3


def test_all_parameters_but_the_one_that_the_published_cell_ignores_get_gradients():
    for name in ("v1", "nano"):
        model = build_model(name)
        sum(o.square().mean() for o in model(torch.randn(2, 3, 64, 64))).backward()
        without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
        # fresh batch statistics may silence a gate's hidden unit, nothing else
        assert all(".channel." in n for n in without), without


def test_an_unknown_model_is_refused():
    with pytest.raises(ValueError, match="'v1' or 'nano', got 'v2'"):
        build_model("v2")


@pytest.mark.parametrize("groups", [2, 4])
def test_a_shuffle_keeps_the_layout_of_a_training_batch_and_gives_the_same(groups):
    shuffle = ChannelShuffle(8, groups)
    planes = torch.randn(2, 8, 3, 5)
    last = planes.to(memory_format=torch.channels_last)
    trained = shuffle.train()(last)
    assert trained.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(trained, shuffle.eval()(planes))
