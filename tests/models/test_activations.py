import numpy as np
import pytest
import torch
import xarray as xr
from captum.attr import LayerGradientXActivation
from conftest import TYPICAL, TinyNet, made_cohort, wrapped
from torch import nn

import ecgwb as wb
from ecgwb.models.activations import positions, reading
from ecgwb.models.networks import CompactNet, KanResWideX
from ecgwb.models.spec import ModelError


def test_receptive_fields_are_those_of_the_architectures():
    compact = positions(wrapped(CompactNet(n_outputs=2)))
    assert compact.field * 2 == 414
    np.testing.assert_array_equal(compact.sample, 4 * np.arange(150))
    torch.manual_seed(0)
    kanres = positions(wrapped(KanResWideX(n_outputs=2)))
    # 16 convolutions of 50 at 2 samples a position: 1 + 7 + 2 + 1 + 16 * 49 * 2 = 1579 samples, 3.16 s.
    assert kanres.field == 1579
    # Centred at 2k + 5 as designed, and half a position later with each of the 16 even kernels.
    assert kanres.sample[0] == pytest.approx(5 + 16, abs=1)
    assert kanres.sample[1] - kanres.sample[0] == pytest.approx(2)


@pytest.mark.parametrize(
    "layers",
    [  # (kernel, stride, padding, dilation, pooled) from the input on
        [(7, 3, 3, 1, "")],
        [(3, 1, 4, 4, "")],
        [(4, 2, 0, 1, "")],
        [(3, 1, 1, 1, ""), (2, 2, 0, 1, "max")],
        [(8, 2, 0, 1, ""), (5, 3, 2, 2, ""), (4, 1, 0, 1, "")],
        [(5, 2, 2, 1, ""), (4, 2, 1, 1, "max"), (3, 1, 2, 2, ""), (2, 2, 0, 1, "average")],
    ],
)
def test_receptive_fields_follow_from_kernels_strides_paddings_and_dilations(layers):
    """By the recursion of Araujo, Norris & Sim (2019), doi 10.23915/distill.00021."""
    body, channels, centre, step, field = [], 8, 0.0, 1, 1
    for kernel, stride, padding, dilation, pooled in layers:
        if pooled:
            body.append((nn.MaxPool1d if pooled == "max" else nn.AvgPool1d)(kernel, stride, padding))
        else:
            body += [nn.Conv1d(channels, 4, kernel, stride, padding, dilation), nn.BatchNorm1d(4), nn.ReLU()]
            channels = 4
        centre += step * (dilation * (kernel - 1) / 2 - padding)
        field += step * dilation * (kernel - 1)
        step *= stride
    net = nn.Sequential(nn.Sequential(*body), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 2))
    where = positions(wrapped(net, layer="0"))
    assert where.how == "receptive-field centres"
    assert where.field == field
    np.testing.assert_allclose(where.sample, centre + step * np.arange(len(where.sample)))


def test_a_layer_that_sees_everything_has_its_positions_spread_evenly():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv1d(8, 4, 5, stride=5), nn.Linear(8, 2)
            self.rnn = nn.GRU(4, 4, bidirectional=True, batch_first=True)
            self.seen = nn.Identity()

        def forward(self, x):
            return self.head(self.seen(self.rnn(self.conv(x).mT)[0].mT).mean(dim=2))

    model = wrapped(Recurrent(), layer="seen")
    where = positions(model)
    assert where.how == "evenly spread"
    np.testing.assert_allclose(where.sample, 5 * np.arange(120) + 2)
    assert np.isfinite(wb.ecgradcam(model, made_cohort(TYPICAL))).all()


class Causal(nn.Module):
    """Reads the past only: padded on the left, each block added to what it reads."""

    def __init__(self, blocks=5):
        super().__init__()
        torch.manual_seed(1)
        self.first = nn.Conv1d(8, 8, 1)
        self.convs = nn.ModuleList(nn.Conv1d(8, 8, 3, dilation=2**k) for k in range(blocks))
        self.seen, self.head = nn.Identity(), nn.Linear(8, 2)

    def forward(self, x):
        y = self.first(x / 300)
        for k, conv in enumerate(self.convs):
            y = y + torch.relu(conv(nn.functional.pad(y, (2 * 2**k, 0))))
        return self.head(self.seen(y).mean(dim=2))


class Tokens(nn.Module):
    """A small transformer on pieces of 25 samples, with a class token or a mean."""

    def __init__(self, class_token, time_first=False):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Conv1d(8, 32, 25, stride=25)
        self.token = nn.Parameter(torch.randn(1, 1, 32)) if class_token else None
        block = nn.TransformerEncoderLayer(32, 4, 64, batch_first=not time_first, norm_first=True)
        self.blocks = nn.TransformerEncoder(block, 2, enable_nested_tensor=False)
        self.head, self.time_first = nn.Linear(32, 2), time_first

    def forward(self, x):
        t = self.embed(x / 300).mT
        if self.token is not None:
            t = torch.cat([self.token.expand(len(t), -1, -1), t], dim=1)
        t = self.blocks(t.transpose(0, 1)).transpose(0, 1) if self.time_first else self.blocks(t)
        return self.head(t.mean(dim=1) if self.token is None else t[:, 0])


@pytest.mark.parametrize("blocks", [4, 5, 6])
def test_a_causal_network_is_mapped_to_where_it_reads(blocks):
    """A pulse changes the map around the pulse, not half a receptive field earlier."""
    model = wrapped(Causal(blocks).eval(), layer="seen")
    where = positions(model)
    field = 1 + 2 * (2**blocks - 1)
    assert (where.how, where.field) == ("gradient mass", field)
    cohort = made_cohort([TYPICAL])
    before = wb.ecgradcam(model, cohort, "t0").values[0, 0]
    off = []
    for at in np.arange(-300.0, 501.0, 100.0):
        pulsed = wb.edits.plant(cohort, at, 200.0, width_ms=10.0)
        change = np.abs(wb.ecgradcam(model, pulsed, "t0").values[0, 0] - before)
        core = np.maximum(change - change.max() / 2, 0)
        time = -500.0 + 2 * np.arange(600)
        off.append(float(core @ time / core.sum()) - at)
    assert abs(np.median(off)) < 0.3 * 2 * field  # 0.5: where the centre of its field is


@pytest.mark.parametrize(("class_token", "time_first"), [(True, False), (False, False), (False, True)])
def test_the_axes_of_tokens_are_found_by_what_they_follow(class_token, time_first):
    model = wrapped(Tokens(class_token, time_first).eval(), layer="blocks.layers.0")
    wanted = ("position", "record", "channel") if time_first else ("record", "position", "channel")
    assert reading(model).axes == wanted
    where = positions(model)
    at = where.sample[1:] if class_token else where.sample
    np.testing.assert_allclose(at, 12 + 25 * np.arange(24), atol=6)
    assert np.isnan(where.sample[0]) == class_token  # the class token stands for no moment
    maps = wb.ecgradcam(model, made_cohort([TYPICAL] * 3))
    assert "hirescam" in maps.attrs["method"]
    assert np.isfinite(maps).all()


def test_maps_of_a_transformer_are_read_before_its_moments_mix():
    for class_token in (True, False):
        net = Tokens(class_token).eval()
        model = wb.wrap_model(net, wb.ModelSpec(targets=("a", "b")))
        table = wb.models.layers(model)
        assert table.index[table["default"]].tolist() == ["embed"]
        assert table.loc["embed", "receptive_field_ms"] == 50
        assert table.loc["blocks.layers.0", "axes"] == ("record", "position", "channel")
        cohort = made_cohort([TYPICAL] * 2)
        maps = wb.ecgradcam(model, cohort, "b")
        x = torch.from_numpy(cohort["beat"].values)
        wanted = LayerGradientXActivation(net, net.embed).attribute(x, target=1).sum(dim=1) * 24
        at = np.round(positions(model).sample).astype(int)
        own = maps.values[:, 0]
        # Linear between positions but for one constant a record, which keeps the mean.
        np.testing.assert_allclose(np.diff(own[:, at], axis=1), np.diff(wanted.detach(), axis=1), rtol=1e-3, atol=1e-3)


def test_axes_layers_and_calls_can_be_said():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.shared, self.head = nn.Conv1d(8, 8, 1), nn.Conv1d(8, 8, 3, padding=1), nn.Linear(8, 2)

        def forward(self, x):
            return self.head(self.shared(self.shared(self.first(x))).mean(dim=2))

    cohort = made_cohort([TYPICAL] * 2)
    twice = Twice().eval()
    with pytest.raises(ModelError, match="with spec"):
        wb.ecgradcam(wrapped(twice, layer="shared"), cohort)
    maps = [
        wb.ecgradcam(wb.wrap_model(twice, wb.ModelSpec(targets=("a", "b"), layer="shared", layer_call=k)), cohort)
        for k in (0, 1)
    ]
    assert maps[1].attrs["adds_up"] == "mean"
    assert not np.allclose(*maps)
    said = wb.ModelSpec(targets=("a", "b"), layer="blocks", layer_axes=("record", "channel", "position"))
    assert reading(wb.wrap_model(Tokens(False).eval(), said)).axes == ("record", "channel", "position")


def test_one_of_a_layers_tensors_is_read():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = nn.GRU(8, 6, batch_first=True), nn.Linear(6, 2)

        def forward(self, x):
            return self.head(self.rnn(x.mT / 300)[0].mean(dim=1))

    model = wrapped(Pair().eval(), layer="rnn")
    assert reading(model).axes == ("record", "position", "channel")
    maps, cohort = wb.ecgradcam(model, made_cohort([TYPICAL] * 2)), made_cohort([TYPICAL] * 2)
    assert maps.attrs["adds_up"] == "mean"
    np.testing.assert_allclose(maps.mean("time")[:, 0] + maps["bias"][0], wb.predict(model, cohort)["t0"], rtol=1e-4)

    class Last(Pair):
        def forward(self, x):
            return self.head(self.rnn(x.mT / 300)[1][0])

    with pytest.raises(ModelError, match="no gradient at this layer"):
        wb.ecgradcam(wrapped(Last().eval(), layer="rnn"), cohort)
    with pytest.raises(ModelError, match="no layer of the network has positions"):
        wb.ecgradcam(wb.wrap_model(Last().eval(), wb.ModelSpec(targets=("a", "b"))), cohort)


def test_a_mistyped_layer_gets_three_names_and_not_a_screen(measures):
    with pytest.raises(ModelError) as e:
        wb.ecgradcam(measures, made_cohort([TYPICAL]), layer="block.5.relu2")
    assert "blocks.5.relu2" in str(e.value)
    assert len(str(e.value)) < 200


def test_a_network_of_pieces_has_a_map_of_the_whole_recording_that_adds_up(ptbxl):
    torch.manual_seed(0)
    few = ptbxl.isel(record=slice(4))
    for step in (None, 250):
        spec = wb.ModelSpec(
            "rhythm", n_samples=1250, targets=("a", "b"), layer="features", windows="mean", window_step=step
        )
        model = wb.wrap_model(TinyNet().eval(), spec)
        maps = wb.ecgradcam(model, few)
        assert maps.shape == (4, 2, 5000)
        np.testing.assert_allclose(maps.mean("time")[:, 0] + maps["bias"][0], wb.predict(model, few)["a"], rtol=1e-4)
    padded = wb.ModelSpec("rhythm", fs=400, n_samples=4096, targets=("a", "b"), layer="features", pad="centre")
    model = wb.wrap_model(TinyNet().eval(), padded)
    maps = wb.ecgradcam(model, few)
    assert maps.shape == (4, 2, 4000)
    np.testing.assert_allclose(maps.mean("time")[:, 0] + maps["bias"][0], wb.predict(model, few)["a"], rtol=1e-4)
    before = wb.ecgradcam(model, few, "a").values
    changed = few.copy(deep=True)
    changed["rhythm"][:, :, 2500:2520] += 500.0  # 5.0 s
    change = np.abs(wb.ecgradcam(model, changed, "a").values - before)[:, 0]
    assert np.abs(change.argmax(axis=1) / 400 - 5.02).max() < 0.05


def test_a_claim_to_add_up_is_held_against_how_predictions_differ():
    """With outputs near 1e-3, an absolute tolerance would let anything pass."""

    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.features, self.head = nn.Conv1d(8, 4, 9), nn.Linear(4, 2)

        def forward(self, x):
            return 1e-4 * torch.tanh(self.head(self.features(x / 300).mean(dim=2)))

    cohort = made_cohort([TYPICAL] * 6)
    cohort["beat"] = cohort["beat"] * xr.DataArray(np.linspace(0.2, 5, 6).astype(np.float32), dims="record")
    assert wb.ecgradcam(wrapped(Small().eval(), layer="features"), cohort).attrs["adds_up"] == ""


def test_another_output_of_the_same_network_has_its_own_default_layer():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other = nn.Conv1d(8, 4, 7, stride=4), nn.Conv1d(8, 4, 9, stride=4)

        def forward(self, x):
            return self.one(x).mean(dim=2)[:, :1], self.other(x).mean(dim=2)[:, :1]

    net, cohort = Two().eval(), made_cohort([TYPICAL] * 2)
    for k, layer in enumerate(("one", "other")):
        model = wb.wrap_model(net, wb.ModelSpec(targets=("a",), output=k))
        assert wb.ecgradcam(model, cohort).attrs["layer"] == layer
