import pytest

torch = pytest.importorskip("torch")

from featherface_training.models import EXPECTED_PARAMETERS, build_model, count_parameters  # noqa: E402
from featherface_training.models.attention import mean_and_maximum  # noqa: E402
from featherface_training.models.layers import ChannelShuffle, Layers  # noqa: E402


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


def layers(*, fixed):
    """A few layers with statistics of their own, in float64; `fixed` keeps these in training."""
    made = Layers(
        torch.nn.Conv2d(3, 4, 3, padding=1, bias=False),
        torch.nn.BatchNorm2d(4),
        torch.nn.LeakyReLU(0.1),
        torch.nn.Conv2d(4, 4, 3, padding=1, stride=2, groups=4),
        torch.nn.Conv2d(4, 6, 1),
        torch.nn.BatchNorm2d(6),
    ).double()
    for layer in made:
        if isinstance(layer, torch.nn.BatchNorm2d):
            for tensor in (layer.weight.data, layer.bias.data, layer.running_mean, layer.running_var):
                tensor.copy_(torch.rand_like(tensor) + 0.5)
            layer.train(not fixed)
    return made


def results(forward, parameters, x):
    """What comes of `x`, and the gradients of its square."""
    y = forward(x)
    return [y, *torch.autograd.grad(y.square().sum(), parameters)]


@pytest.mark.parametrize("fixed", [True, False])
def test_layers_are_what_a_plain_sequence_of_them_is(fixed):
    made, x = layers(fixed=fixed), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    parameters = list(made.parameters())
    plain = results(torch.nn.Sequential(*made), parameters, x)
    for ours, theirs in zip(results(made, parameters, x), plain, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_layers_out_of_training_are_a_plain_sequence_to_the_last_bit():
    # an exporter sees the operators that were there when the published files were written
    made, x = layers(fixed=True).eval(), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    assert torch.equal(made(x), torch.nn.Sequential(*made)(x))


def test_layers_in_bfloat16_give_bfloat16_and_nearly_the_same():
    made = Layers(
        torch.nn.Conv2d(4, 4, 3, padding=1, stride=2, groups=4, bias=False), torch.nn.BatchNorm2d(4).eval()
    )
    x = torch.randn(2, 4, 8, 8, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        low = made(x)
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), made(x.float()), rtol=0.01, atol=0.01)


@pytest.mark.parametrize("dims", [(2, 3), (1,)])
def test_mean_and_maximum_have_the_gradients_of_their_operators(dims):
    # whole numbers, so that several are the highest
    x = torch.randint(0, 4, (2, 5, 6, 7), dtype=torch.float64).requires_grad_()
    ours, theirs = mean_and_maximum(x, *dims), (x.mean(dims, keepdim=True), x.amax(dims, keepdim=True))
    weights = [torch.randn_like(part) for part in theirs]
    gradients = [torch.autograd.grad(parts, x, weights)[0] for parts in (ours, theirs)]
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*gradients)
