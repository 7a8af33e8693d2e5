from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from captum.attr import LayerGradCam
from conftest import TYPICAL, TinyNet, made_cohort, wrapped
from torch import nn

import ecgwb as wb
from ecgwb.models import prediction
from ecgwb.models.activations import positions
from ecgwb.models.networks import CompactNet, KanResWideX
from ecgwb.models.spec import ModelError


@pytest.fixture
def cohort():
    return made_cohort([TYPICAL] * 5)


class OtherHead(TinyNet):
    """TinyNet with something else than average pooling and a linear layer behind the features."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.more = nn.Linear(900, 2)

    def forward(self, x):
        a = self.features(x / 100)
        mean = a.mean(dim=2)
        if self.kind == "flat":
            return self.more(a.flatten(1))
        if self.kind == "maximum":
            return self.head(a.amax(dim=2))
        # Linear for small activations, so at zeros, and not for those of some of the beats.
        return self.head(mean + 5 * torch.relu(mean - 0.5))


NETS = {
    "compact": lambda: wrapped(CompactNet(n_outputs=2, width=16)),
    "compact, an earlier layer": lambda: wrapped(CompactNet(n_outputs=2, width=16), layer="blocks.2"),
    "kanres": lambda: wrapped(KanResWideX(n_outputs=2)),
    "foreign": lambda: wrapped(TinyNet(), layer="features"),
    "foreign, flat head": lambda: wrapped(OtherHead("flat"), layer="features"),
    "foreign, maximum": lambda: wrapped(OtherHead("maximum"), layer="features"),
    "foreign, kinked head": lambda: wrapped(OtherHead("kinked"), layer="features"),
}


@pytest.mark.parametrize("name", NETS)
def test_gradcam_is_captums_times_the_number_of_positions(name, cohort):
    torch.manual_seed(1)
    model = NETS[name]()
    cohort["beat"] = cohort["beat"] * np.arange(1, 6, dtype=np.float32)[:, None, None]  # weak to strong
    x = torch.from_numpy(cohort["beat"].values)
    layer = dict(model.named_modules())[model.spec.layer]
    maps = wb.ecgradcam(model, cohort)
    where = positions(model)
    inside = (where.sample >= 0) & (where.sample <= 599) & (where.sample == where.sample.round())
    for k in range(2):
        theirs = LayerGradCam(model, layer).attribute(x, target=k).detach().numpy()[:, 0]
        theirs = theirs * theirs.shape[1]
        ours = maps.values[:, k][:, where.sample[inside].astype(int)]
        # Mean-correction moves a whole map by a constant; what is left must be Captum's.
        gap = ours - theirs[:, inside]
        gap = gap - gap.mean(axis=1, keepdims=True)
        assert np.abs(gap).max() <= 1e-5 * np.abs(theirs).max() + 1e-6
        size = np.abs(theirs).max()
        np.testing.assert_allclose(maps.values[:, k].mean(axis=1), theirs.mean(axis=1), rtol=1e-4, atol=1e-5 * size)


@pytest.mark.parametrize("which", ["measures", "sex_net"])
def test_mean_plus_bias_is_the_prediction_in_its_unit(which, request, ludb):
    model = request.getfixturevalue(which)
    maps = wb.ecgradcam(model, ludb)
    predictions = wb.predict(model, ludb)
    for t in model.spec.targets:
        m = maps.sel(target=t)
        gap = np.abs(m.mean("time") + m["bias"] - predictions[t]) / (np.abs(predictions[t]) + 1)
        assert float(gap.max()) < 1e-4
        assert str(m["unit"].values) == predictions[t].attrs["units"]


def test_the_map_of_a_two_layer_net_worked_out_by_hand():
    class Net(nn.Module):
        """Channel 0 is lead I, channel 1 minus lead II; outputs 2 mean(ch 0) + 3 and mean(ch 0) - 5 mean(ch 1)."""

        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(8, 2, 1, bias=False)
            self.head = nn.Linear(2, 2)
            with torch.no_grad():
                self.conv.weight.zero_()
                self.conv.weight[0, 0, 0], self.conv.weight[1, 1, 0] = 1.0, -1.0
                self.head.weight.copy_(torch.tensor([[2.0, 0.0], [1.0, -5.0]]))
                self.head.bias.copy_(torch.tensor([3.0, 0.0]))

        def forward(self, x):
            return self.head(self.conv(x).mean(dim=2))

    cohort = made_cohort([TYPICAL] * 3)
    maps = wb.ecgradcam(wrapped(Net(), layer="conv"), cohort)
    lead = cohort["beat"].sel
    np.testing.assert_allclose(maps.sel(target="t0"), 2 * lead(lead="I"), rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(maps.sel(target="t1"), lead(lead="I") + 5 * lead(lead="II"), rtol=1e-5, atol=1e-3)
    assert maps["bias"].values.tolist() == [3, 0]


def test_the_published_variant_cannot_tell_targets_apart_and_the_others_can(measures, ludb):
    few = ludb.isel(record=slice(20))
    for variant, same in (("published", True), ("gradcam", False), ("guided", False)):
        maps = wb.ecgradcam(measures, few, ["qt", "r_v5"], variant=variant).values
        a, b = (m.reshape(-1) for m in (maps[:, 0], maps[:, 1]))
        assert (np.corrcoef(a, b)[0, 1] > 0.9999) == same
    published = wb.ecgradcam(measures, few, variant="published")
    assert (
        published.attrs["units"] == ", ".join(f"{t}: " for t in measures.spec.targets)
        or published["unit"].values[0] == ""
    )
    assert np.isnan(published["bias"]).all()


@pytest.mark.parametrize(("lead", "sample"), [("V2", 300), ("II", 100)])
def test_a_net_that_reads_one_place_is_mapped_to_that_place(lead, sample):
    class Spot(nn.Module):
        """Marks where one lead is very high, through a stride and a shift: position k looks at sample 5k + 7."""

        def __init__(self):
            super().__init__()
            self.conv = nn.Sequential(nn.Conv1d(8, 1, 1, stride=5), nn.ReLU())
            self.head = nn.Linear(1, 1)
            with torch.no_grad():
                self.conv[0].weight.zero_()
                self.conv[0].weight[0, wb.LEADS.index(lead), 0] = 1.0
                self.conv[0].bias.fill_(-900.0)
                self.head.weight.fill_(1.0)

        def forward(self, x):
            return self.head(self.conv(x[:, :, 7:]).mean(dim=2))

    beat = np.zeros((1, 8, 600))
    at = 5 * ((sample - 7) // 5) + 7
    beat[0, wb.LEADS.index(lead), at] = 1000.0
    model = wrapped(Spot(), 1, "conv")
    where = positions(model)
    assert where.how == "receptive-field centres"
    assert (where.sample[0], where.sample[1], where.field) == (7, 12, 1)
    maps = wb.ecgradcam(model, made_cohort(TYPICAL, beat))
    assert float(maps.time[int(maps.values[0, 0].argmax())]) == (at - 250) * 2.0


def test_a_net_that_ignores_its_input_has_an_empty_map(cohort):
    model = TinyNet()
    with torch.no_grad():
        model.head.weight.zero_()
    assert np.abs(wb.ecgradcam(wrapped(model, layer="features"), cohort).values).max() == 0


def test_a_net_without_average_pooling_has_a_map_without_unit(cohort):
    class Flat(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = (
                nn.Conv1d(8, 4, 5, stride=5),
                nn.Sequential(nn.Linear(480, 8), nn.Tanh(), nn.Linear(8, 1)),
            )

        def forward(self, x):
            return self.head(self.conv(x).flatten(1))

    torch.manual_seed(0)
    maps = wb.ecgradcam(wrapped(Flat(), 1, "conv"), cohort)
    assert maps.attrs["units"] == ""
    assert np.isnan(maps["bias"].values).all()
    assert (
        maps.attrs["positions"] == "receptive-field centres"
    )  # read at the convolution, before the fixed length matters


def test_no_hook_or_change_is_left_behind_even_after_an_error(tiny, cohort):
    tiny.train()
    tiny.head.weight.requires_grad_(False)
    tiny.head.bias.grad = torch.ones(2)
    predictions = wb.predict(tiny, cohort)
    before = {k: v.clone() for k, v in tiny.state_dict().items()}
    wb.ecgradcam(tiny, cohort)
    xr.testing.assert_identical(wb.predict(tiny, cohort), predictions)
    real = tiny.head.forward

    def fails(x):
        if len(x) > 2:
            raise RuntimeError("boom")
        return real(x)

    tiny.head.forward = fails
    with pytest.raises(RuntimeError, match="boom"):
        wb.ecgradcam(tiny, cohort)
    assert tiny.training
    assert torch.is_grad_enabled()
    assert not any(m._forward_hooks for m in tiny.modules())
    assert tiny.head.bias.grad.tolist() == [1, 1]
    assert all(p.grad is None for p in tiny.features.parameters())
    assert [n for n, p in tiny.named_parameters() if not p.requires_grad] == ["head.weight"]
    for k, v in tiny.state_dict().items():
        torch.testing.assert_close(v, before[k])


def test_a_callers_inference_mode_changes_nothing(tiny, cohort):
    outside = wb.ecgradcam(tiny, cohort, variant="guided"), wb.attribute(tiny, cohort, "saliency")
    with torch.inference_mode():
        inside = wb.ecgradcam(tiny, cohort, variant="guided"), wb.attribute(tiny, cohort, "saliency")
    for a, b in zip(outside, inside, strict=True):
        xr.testing.assert_identical(a, b)


def test_an_in_place_layer_behind_the_chosen_one_is_told_of_and_no_trouble(cohort):
    net = nn.Sequential(
        nn.Conv1d(8, 4, 3), nn.ReLU(inplace=True), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    with pytest.warns(UserWarning, match="layer '0' lies before a ReLU") as warned:
        maps = wb.ecgradcam(wrapped(net, layer="0"), cohort)
    assert np.isfinite(maps).all()
    assert Path(warned[0].filename) == Path(__file__)


@pytest.mark.parametrize("pool", [nn.AdaptiveMaxPool1d(1), nn.AdaptiveAvgPool1d(1)])
def test_only_a_relu_right_behind_the_layer_is_told_of(cohort, pool):
    net = nn.Sequential(nn.Conv1d(8, 4, 3), nn.LeakyReLU(), pool, nn.Flatten(), nn.Linear(4, 2))
    wb.ecgradcam(wrapped(net, layer="0"), cohort)  # a warning would be an error


def test_records_that_cannot_be_used_are_nan_and_listed(tiny, cohort):
    cohort = cohort.copy(deep=True)
    cohort["beat"][2, 0, 0] = np.nan
    maps = wb.ecgradcam(tiny, cohort)
    assert np.isnan(maps).any(["target", "time"]).values.tolist() == [False, False, True, False, False]
    assert wb.excluded(maps)["record"].tolist() == ["2"]


def test_a_rhythm_has_a_map_over_its_whole_length_that_adds_up(ptbxl):
    spec = wb.ModelSpec("rhythm", n_samples=5000, targets=("a", "b"), units=("ms", "bpm"), layer="features")
    model = wb.wrap_model(TinyNet().eval(), spec)
    few = ptbxl.isel(record=slice(4))
    maps = wb.ecgradcam(model, few)
    assert maps.shape == (4, 2, 5000)
    assert (float(maps.time[0]), float(maps.time[-1])) == (0, 9998)
    for t, unit in (("a", "ms"), ("b", "bpm")):
        m = maps.sel(target=t)
        np.testing.assert_allclose(m.mean("time") + m["bias"], wb.predict(model, few)[t], rtol=1e-4)
        assert m["unit"] == unit


def test_a_stored_cohort_is_read_piece_by_piece_with_the_same_result(tiny, tmp_path, monkeypatch):
    cohort = made_cohort([TYPICAL] * 7)
    whole = wb.ecgradcam(tiny, cohort)
    cohort.to_zarr(tmp_path / "cohort.zarr", zarr_format=2)
    read = []
    real = prediction.model_input
    monkeypatch.setattr(prediction, "model_input", lambda m, c: read.append(c.sizes["record"]) or real(m, c))
    monkeypatch.setattr(prediction, "CHUNK", 3)
    stored = xr.open_zarr(tmp_path / "cohort.zarr", chunks=None)
    np.testing.assert_allclose(wb.ecgradcam(tiny, stored), whole, rtol=1e-5, atol=1e-5)
    assert read == [3, 3, 1]
    assert not stored["beat"].variable._in_memory


def test_a_departure_adds_up_to_the_prediction_less_the_cohorts_mean_prediction(measures, ludb):
    maps, predictions = wb.ecgradcam(measures, ludb), wb.predict(measures, ludb)
    away = wb.attention.departure(maps)
    for t in measures.spec.targets:
        wanted = predictions[t] - predictions[t].mean()
        np.testing.assert_allclose(
            away.sel(target=t).mean("time"), wanted, atol=1e-4 * float(np.abs(predictions[t]).max())
        )
        assert float(away.sel(target=t)["bias"]) == pytest.approx(float(predictions[t].mean()), rel=1e-4)
    assert np.abs(away.mean("record")).max() < 1e-3 * np.abs(maps).max()
    one = wb.attention.departure(maps.isel(record=[3]), maps)
    np.testing.assert_allclose(one, away.isel(record=[3]), atol=1e-2)
    aligned = wb.attention.departure(wb.align(maps, ludb))
    assert aligned.dims == ("record", "target", "phase")
    assert np.isnan(aligned["bias"]).all()
    with pytest.raises(ValueError, match="differ in method"):
        wb.attention.departure(maps, wb.ecgradcam(measures, ludb.isel(record=[0]), variant="guided"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"targets": "qt"}, "no target"),
        ({"variant": "cam"}, "unknown variant"),
        ({"layer": "nowhere"}, "no layer"),
        ({"layer": "head"}, "does not give"),
    ],
)
def test_what_does_not_exist_is_refused_by_name(tiny, cohort, arguments, message):
    with pytest.raises(ModelError, match=message):
        wb.ecgradcam(tiny, cohort, **arguments)


def test_a_network_in_bfloat16_has_nearly_the_same_map(cohort):
    full = wrapped(TinyNet(), layer="features")
    half = wrapped(TinyNet().bfloat16(), layer="features")
    one, other = wb.ecgradcam(full, cohort), wb.ecgradcam(half, cohort)
    assert np.abs(one - other).max() < 0.05 * np.abs(one).max()
