"""What channels answer to, where the answer is known."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from nets import ResidualCNN, SmallCNN, make_data, make_images, make_net
from torch import nn

from skensemble import BatchEnsembleClassifier, DeepEnsembleClassifier, NetworkClassifier
from skensemble.inspection import ChannelImagesDisplay, ascent, channel_images, networks
from skensemble.inspection.ascent import Smooth
from skensemble.inspection.layers import find_layer

X, Y = make_images()
X = np.pad(X, [(0, 0), (0, 0), (0, 0), (0, 1)])  # 6 x 7 pixels
SHAPE = X.shape[1:]


class Bank(nn.Module):
    """Known filters before anything else; `size` 0 is that of the image."""

    def __init__(self, in_shape, n_classes, size=0, n_filters=5):
        super().__init__()
        kernel = in_shape[1:] if size == 0 else size
        self.bank = nn.Conv2d(in_shape[0], n_filters, kernel)
        self.act = nn.ReLU(inplace=True)
        self.head = nn.Linear(n_filters, n_classes)

    def forward(self, x):
        return self.head(self.act(self.bank(x)).mean((2, 3)))


class Dead(Bank):
    """Whose first filter is empty, and which wants numbers."""

    def forward(self, x):
        assert x.isfinite().all()
        with torch.no_grad():
            self.bank.weight[0] = 0
        return super().forward(x)


def fit(module=SmallCNN, **kwargs):
    return NetworkClassifier(make_net(module, max_epochs=2, **kwargs), random_state=0).fit(X, Y)


def measure(smoothness, height, width):
    """Return the matrix of ``|d|² + smoothness sum (differences of neighbours)²``."""
    pixels = np.arange(height * width).reshape(height, width)
    matrix = np.eye(height * width)
    pairs = zip(
        [*pixels[1:].ravel(), *pixels[:, 1:].ravel()],
        [*pixels[:-1].ravel(), *pixels[:, :-1].ravel()],
        strict=True,
    )
    for i, j in pairs:
        difference = np.zeros(height * width)
        difference[i], difference[j] = 1, -1
        matrix += smoothness * np.outer(difference, difference)
    return matrix


def size_of(d, smoothness):
    """Return the norm of images ``(..., C, H, W)``."""
    flat = d.reshape(*d.shape[:-2], -1)
    M = measure(smoothness, *d.shape[-2:])
    return np.sqrt(np.einsum("...ci,ij,...cj->...", flat, M, flat))


def plain_maps(module, layer, rows):
    """Return what a layer puts out, by a hook of its own."""
    module, heard = copy.deepcopy(module).eval(), []
    module.get_submodule(layer).register_forward_hook(
        lambda part, inputs, out: heard.append(out.clone())
    )
    with torch.no_grad():
        module(torch.as_tensor(rows))
    return heard[0].numpy()


# -- images that are made ----------------------------------------------------------------------


def test_of_a_bank_of_filters_the_images_are_the_filters():
    network = fit(Bank)
    filters = network.module_.bank.weight.detach().numpy()
    found = channel_images(network, "bank", X, smoothness=0, norm=2.5, n_synthetic=3, n_steps=200)
    d = found.synthetic - X.mean(0)
    for number, own in enumerate(filters):
        for made in d[number]:
            np.testing.assert_allclose(made, 2.5 * own / np.linalg.norm(own), atol=1e-7)
    bias = network.module_.bank.bias.detach().numpy()
    largest = np.einsum("kchw,chw->k", filters, X.mean(0)) + bias
    largest += 2.5 * np.linalg.norm(filters.reshape(5, -1), axis=1)
    np.testing.assert_allclose(found.synthetic_answers, np.repeat(largest[:, None], 3, 1))


@pytest.mark.parametrize("size", [0, 3])
@pytest.mark.parametrize("smoothness", [0.0, 0.7, 20.0])
def test_of_linear_channels_they_are_the_closed_form(size, smoothness):
    """Among d with d'Md <= r², w'd is largest for d = r M⁻¹w / sqrt(w'M⁻¹w)."""
    network = fit(Bank, module__size=size)
    found = channel_images(network, "bank", X, smoothness=smoothness, n_steps=200)
    zero = plain_maps(network.module_, "bank", np.zeros((1, *SHAPE))).mean((2, 3))
    units = np.eye(np.prod(SHAPE)).reshape(-1, *SHAPE)
    slopes = (plain_maps(network.module_, "bank", units).mean((2, 3)) - zero).T
    M = np.kron(np.eye(SHAPE[0]), measure(smoothness, *SHAPE[1:]))
    away = (X - X.mean(0)).reshape(len(X), -1)
    r = np.sqrt(np.einsum("ni,ij,nj->n", away, M, away).mean())
    for w, made in zip(slopes, found.synthetic[:, 0] - X.mean(0), strict=True):
        best = np.linalg.solve(M, w)
        np.testing.assert_allclose(made.ravel(), r * best / np.sqrt(w @ best), atol=1e-6)


@settings(max_examples=15)
@given(
    over=st.sampled_from(["mean", "max"]),
    smoothness=st.sampled_from([0.0, 1.0, 5.0]),
    rate=st.floats(0.02, 1.0),
    n_steps=st.integers(1, 12),
    seed=st.integers(0, 9),
)
def test_images_stay_in_the_ball_and_more_steps_are_no_worse(over, smoothness, rate, n_steps, seed):
    network = NETWORK
    kind = {"over": over, "smoothness": smoothness, "rate": rate, "random_state": seed}
    found = channel_images(network, "norm2", X, n_synthetic=2, norm=3.0, n_steps=n_steps, **kind)
    assert size_of(found.synthetic - X.mean(0), smoothness).max() <= 3.0 * (1 + 1e-9)
    reduced = getattr(np, over)
    maps = plain_maps(network.module_, "norm2", found.synthetic.reshape(-1, *SHAPE))
    said = reduced(maps.reshape(4, 2, 4, -1), axis=-1)[range(4), :, range(4)]
    np.testing.assert_allclose(found.synthetic_answers, said, rtol=1e-9)
    more = channel_images(network, "norm2", X, n_synthetic=2, norm=3.0, n_steps=n_steps + 3, **kind)
    assert (more.synthetic_answers >= found.synthetic_answers - 1e-12).all()


NETWORK = fit(ResidualCNN)


def test_a_step_is_the_slow_one():
    """One image, one channel, in coordinates of the Cholesky-free root of M."""
    network, smoothness, norm, rate = NETWORK, 1.5, 2.0, 0.3
    M = np.kron(np.eye(SHAPE[0]), measure(smoothness, *SHAPE[1:]))
    values, vectors = np.linalg.eigh(M)
    P = torch.tensor(vectors / np.sqrt(values) @ vectors.T)
    kind = {"channels": [2], "smoothness": smoothness, "norm": norm, "rate": rate}
    found = channel_images(network, "conv", X, n_steps=4, **kind)
    module = copy.deepcopy(network.module_).eval()
    heard = []
    module.conv.register_forward_hook(lambda part, inputs, out: heard.append(out))
    drawn = np.random.default_rng(np.random.SeedSequence(0, spawn_key=(2,))).normal(size=SHAPE)
    z = torch.tensor(0.1 * norm * drawn.ravel() / np.linalg.norm(drawn))
    best = None
    for _ in range(5):
        z = z.detach().requires_grad_()
        image = torch.tensor(X.mean(0)) + (P @ z).reshape(SHAPE)
        module(image[None])
        answer = heard[-1][0, 2].mean()
        (g,) = torch.autograd.grad(answer, z)
        if best is None or answer > best[0]:
            best = answer.item(), image.detach().numpy()
        z = (1 - rate) * z + rate * norm * g / g.norm()
    np.testing.assert_allclose(found.synthetic[0, 0], best[1], atol=1e-9)
    assert found.synthetic_answers[0, 0] == pytest.approx(best[0])


def test_a_channel_draws_by_itself(monkeypatch):
    kind = {"n_steps": 3, "n_synthetic": 2}
    whole = channel_images(NETWORK, None, X, random_state=1, **kind)
    one = channel_images(NETWORK, None, X, channels=[2], random_state=1, **kind)
    np.testing.assert_allclose(one.synthetic[0], whole.synthetic[2], atol=1e-12)
    assert abs(whole.synthetic[2, 0] - whole.synthetic[2, 1]).max() > 1e-3
    other = channel_images(NETWORK, None, X, random_state=2, **kind)
    assert abs(other.synthetic - whole.synthetic).max() > 1e-3
    again = channel_images(NETWORK, None, X, random_state=1, **kind)
    np.testing.assert_array_equal(again.synthetic, whole.synthetic)
    monkeypatch.setattr(ascent, "_CHUNK_IMAGES", 3)
    parts = channel_images(NETWORK, None, X, random_state=1, **kind)
    np.testing.assert_allclose(parts.synthetic, whole.synthetic, atol=1e-12)
    np.testing.assert_allclose(parts.synthetic_answers, whole.synthetic_answers)


def test_a_dead_channel_stays_where_it_is():
    found = channel_images(fit(Dead), "bank", X, channels=[0], smoothness=0, norm=2.0, n_steps=3)
    np.testing.assert_allclose(size_of(found.synthetic - X.mean(0), 0), 0.2)
    assert np.ptp(found.answers) == 0


def test_of_equal_rows_the_first_are_taken():
    network, rows = fit(Bank), np.random.default_rng(0).normal(size=(300, *SHAPE))
    rows[:, 0, 0, 0] = np.arange(300) % 3 == 1
    with torch.no_grad():  # the answer is one pixel
        network.module_.bank.weight[0] = 0
        network.module_.bank.weight[0, 0, 0, 0] = 1
    found = channel_images(network, "bank", rows, channels=[0], n_images=20, n_steps=1)
    np.testing.assert_array_equal(found.rows[0], np.flatnonzero(rows[:, 0, 0, 0])[:20])


def test_a_search_for_layers_leaves_no_hooks():
    (network,) = networks.networks_of(NETWORK)
    assert find_layer(network, None, torch.from_numpy(X[:2]), "it") == "conv"
    assert not any(part._forward_hooks for part in network.module.modules())


@settings(max_examples=25)
@given(height=st.integers(1, 6), width=st.integers(1, 6), smoothness=st.floats(0, 30))
def test_coordinates_have_the_norm_of_the_penalty(height, width, smoothness):
    d = torch.from_numpy(np.random.default_rng(height).normal(size=(2, 3, height, width)))
    smooth = Smooth(d, smoothness)
    z = smooth.coordinates(d)
    torch.testing.assert_close(smooth.images(z), d)
    norms = z.flatten(1).norm(dim=1).numpy()
    np.testing.assert_allclose(norms, size_of(d.numpy(), smoothness))


# -- rows --------------------------------------------------------------------------------------


@pytest.mark.parametrize("over", ["mean", "max"])
@pytest.mark.parametrize("layer", ["stem", "norm1", "conv"])
def test_rows_are_those_of_a_plain_pass(over, layer, monkeypatch):
    monkeypatch.setattr(networks, "_CHUNK_ROWS", 17)
    found = channel_images(NETWORK, layer, X, over=over, channels=[3, 1], n_images=5, n_steps=1)
    maps = plain_maps(NETWORK.module_, layer, X)
    answers = getattr(np, over)(maps, axis=(2, 3))
    assert found.layer == layer
    for number, rows, own, said in zip([3, 1], found.rows, found.maps, found.answers, strict=True):
        expected = np.argsort(-answers[:, number])[:5]
        np.testing.assert_array_equal(rows, expected)
        np.testing.assert_allclose(said, answers[expected, number])
        np.testing.assert_allclose(own, maps[expected, number], atol=1e-12)  # of the same size
    np.testing.assert_array_equal(found.images, X[found.rows])


def test_maps_have_the_size_of_the_image():
    found = channel_images(fit(), "body.3", X, n_steps=1)
    assert found.maps.shape == (4, 4, *SHAPE[1:])
    small = plain_maps(fit().module_, "body.3", X)[found.rows[1, 0], 1]
    assert found.maps[1, 0].max() <= small.max() + 1e-12
    assert found.maps[1, 0, 0, 0] == pytest.approx(small[0, 0])


def test_what_writes_into_a_layers_numbers_is_not_seen():
    network = fit(Bank)  # whose ReLU works in place
    found = channel_images(network, "bank", X, n_images=len(X), n_steps=1)
    assert found.answers.min() < 0


def test_members():
    deep = DeepEnsembleClassifier(make_net(SmallCNN, max_epochs=2), 2, random_state=0).fit(X, Y)
    shared = BatchEnsembleClassifier(make_net(SmallCNN, max_epochs=2), 2, random_state=0).fit(X, Y)
    for ensemble, modules in (
        (deep, [one.module_ for one in deep]),
        (shared, [shared._networks()[0].member(number) for number in range(2)]),
    ):
        for member, module in enumerate(modules):
            found = channel_images(ensemble, "body.3", X, member=member, n_steps=1)
            answers = plain_maps(module, "body.3", X).mean((2, 3))
            np.testing.assert_array_equal(found.rows, np.argsort(-answers, axis=0)[:4].T)


def test_bytes_are_scaled():
    pictures = np.random.default_rng(0).integers(0, 256, X.shape).astype(np.uint8)
    network = NetworkClassifier(make_net(SmallCNN, max_epochs=1), random_state=0).fit(pictures, Y)
    found = channel_images(network, None, pictures, n_steps=2)
    scaled = pictures.astype(np.float32) / 255
    np.testing.assert_allclose(found.images, scaled[found.rows], rtol=1e-6)
    same = channel_images(network, None, scaled, n_steps=2)
    np.testing.assert_allclose(found.synthetic, same.synthetic, atol=1e-5)


def test_nothing_else_moves():
    network = fit()
    network.module_.train()
    network.module_.body[0].requires_grad_(False)
    before = {name: value.clone() for name, value in network.module_.state_dict().items()}
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    rows = X.copy()
    with torch.no_grad():
        channel_images(network, None, rows, n_steps=3)
    np.testing.assert_array_equal(rows, X)
    assert torch.equal(torch.get_rng_state(), states[0])
    np.testing.assert_array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    for name, value in network.module_.state_dict().items():
        assert torch.equal(value, before[name]), name
    wanted = [one.requires_grad for one in network.module_.parameters()]
    assert wanted == [False] + [True] * (len(wanted) - 1)
    assert all(one.grad is None for one in network.module_.parameters())
    assert all(part.training and not part._forward_hooks for part in network.module_.modules())


# -- pictures and errors -------------------------------------------------------------------------


def test_display(tmp_path):
    pytest.importorskip("matplotlib")
    network = fit()
    display = ChannelImagesDisplay.from_estimator(
        network, "body.0", X, channels=[2, 0], n_images=3, n_synthetic=2, n_steps=2
    )
    assert display.axes_.shape == (2, 5)
    assert [ax.get_ylabel() for ax in display.axes_[:, 0]] == ["channel 2", "channel 0"]
    found = display.found
    assert display.axes_[1, 2].get_xlabel() == f"{found.answers[1, 2]:.2g}"
    assert display.axes_[0, 3].get_xlabel() == f"{found.synthetic_answers[0, 0]:.2g}"
    made = found.synthetic[0, 1]
    shown = np.moveaxis((made - made.min()) / np.ptp(made), 0, -1)
    np.testing.assert_allclose(display.axes_[0, 4].images[0].get_array(), shown)
    assert "body.0" in display.figure_.get_suptitle()
    display.figure_.savefig(tmp_path / "channels.png")


def test_errors():
    network = fit()
    with pytest.raises(ValueError, match="'layer' of channel_images must .* Got 'x', which is not"):
        channel_images(network, "x", X)
    with pytest.raises(ValueError, match=r"numbers of the 4 channels of 'body\.3'.* Got 4"):
        channel_images(network, None, X, channels=[1, 4])
    for wrong in ([], [[1]], [0.5]):
        with pytest.raises(ValueError, match="'channels' must be an int, or a list of such. Got"):
            channel_images(network, None, X, channels=wrong)
    with pytest.raises(ValueError, match="'n_images' must be at most the 3 rows. Got 4"):
        channel_images(network, None, X[:3])
    with pytest.raises(ValueError, match="'X' must have rows that differ, or a 'norm'"):
        channel_images(network, None, X[[0, 0, 0, 0]])
    with pytest.raises(ValueError, match="'member' must be the number of one of 1 networks. Got 1"):
        channel_images(network, None, X, member=1)
    table = NetworkClassifier(make_net(), random_state=0).fit(*make_data(40))
    with pytest.raises(ValueError, match="'X' of channel_images must be images"):
        channel_images(table, None, make_data(40)[0])


@pytest.mark.parametrize(
    "wrong",
    [
        {"channels": 0}, {"member": -1}, {"n_images": 0}, {"n_synthetic": 0}, {"over": "sum"},
        {"n_steps": 0}, {"rate": 0}, {"rate": 1.5}, {"smoothness": -1}, {"norm": 0},
        {"random_state": "x"},
    ],
)  # fmt: skip
def test_settings(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"The '{name}' parameter of channel_images must be"):
        channel_images(None, None, X, **wrong)
