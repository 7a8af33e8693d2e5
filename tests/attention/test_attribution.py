import warnings

import numpy as np
import pytest
import torch
import xarray as xr
from captum.attr import GuidedGradCam
from conftest import TYPICAL, TinyNet, made_cohort
from known_rhythms import LinearInTime, on_rhythms
from torch import nn

import ecgwb as wb
from ecgwb.attention.attribution import METHODS
from ecgwb.delineation.landmarks import WAVES
from ecgwb.models.spec import ModelError

EACH = (*METHODS, "occlusion")
QUICK = {"steps": 8, "n_noises": 3}


class Linear(nn.Module):
    """Two outputs, each a weighted sum over leads and samples, plus 7: every method's answer is known."""

    def __init__(self, weights):  # (2, 8, 600)
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(8, 8, 1, groups=8), nn.ReLU(), nn.Conv1d(8, 8, 1, groups=8))
        self.weights = nn.Parameter(torch.as_tensor(weights, dtype=torch.float32))
        with torch.no_grad():  # x + 1e4 is positive, so that the ReLU is there and changes nothing
            for conv, shift in ((self.body[0], 1e4), (self.body[2], -1e4)):
                conv.weight.fill_(1.0)
                conv.bias.fill_(shift)

    def forward(self, x):
        return torch.einsum("bls,tls->bt", self.body(x), self.weights) + 7


def wrapped(net, **spec):
    given = {"targets": ("a", "b"), "units": ("ms", "µV"), "layer": "body"} | spec
    return wb.wrap_model(net.eval(), wb.ModelSpec(**given))


@pytest.fixture
def cohort():
    return made_cohort([TYPICAL] * 3)


@pytest.fixture
def weights():
    return np.random.default_rng(1).normal(size=(2, 8, 600))


def blanked_change(x, weights, span):
    """What blanking each lead's span changes in a linear net's outputs: (record, target, lead)."""
    inside = np.flatnonzero((span[0] <= TIMES) & (span[1] >= TIMES))
    line = np.linspace(x[:, :, inside[0]], x[:, :, inside[-1]], len(inside), axis=2)
    return np.einsum("bls,tls->btl", x[:, :, inside] - line, weights[:, :, inside])


TIMES = -500 + 2.0 * np.arange(600)


def test_on_a_linear_net_every_method_gives_its_known_answer(cohort, weights):
    model, x = wrapped(Linear(weights)), cohort["beat"].values.astype(float)
    w, mean = weights[None], cohort["beat"].values.mean(axis=0, dtype=float)
    known = {
        "saliency": np.broadcast_to(w, (3, *weights.shape)),
        "smoothgrad": np.broadcast_to(w, (3, *weights.shape)),
        "input_x_gradient": w * x[:, None],
        "integrated_gradients": w * x[:, None],
        "deeplift": w * x[:, None],
    }
    for method, answer in known.items():
        maps = wb.attribute(model, cohort, method, **QUICK)
        np.testing.assert_allclose(maps, answer, rtol=1e-3, atol=0.02, err_msg=method)
    for method in ("integrated_gradients", "deeplift"):
        maps = wb.attribute(model, cohort, method, baseline="mean", **QUICK)
        np.testing.assert_allclose(maps, w * (x - mean)[:, None], rtol=1e-3, atol=0.02, err_msg=method)
    maps = wb.attribute(model, cohort, "occlusion")
    covered = np.zeros(600, bool)
    for a, b in ((-200, -100), (-40, 50), (150, 350)):
        inside = (a <= TIMES) & (b >= TIMES)
        covered |= inside
        change = blanked_change(x, weights, (a, b))
        np.testing.assert_allclose(maps.values[..., inside], np.repeat(change[..., None], inside.sum(), 3), atol=1.0)
    assert (maps.values[..., ~covered] == 0).all()


def test_units_and_the_networks_own_scale(cohort, weights):
    """A network in mV: a gradient per µV is a thousandth of the one per mV, a contribution is the same."""
    uv = wrapped(Linear(weights))
    mv = wrapped(Linear(weights * 1000), scale=0.001)
    for method, units in (("saliency", ["ms/µV", "µV/µV"]), ("deeplift", ["ms", "µV"]), ("occlusion", ["ms", "µV"])):
        a, b = (wb.attribute(m, cohort, method) for m in (uv, mv))
        assert a["unit"].values.tolist() == units
        np.testing.assert_allclose(a, b, rtol=1e-2, atol=0.02 * float(np.abs(a).max()))
    guided = wb.attribute(uv, cohort, "guided_gradcam")
    assert guided.attrs["units"] == ""


class Spot(nn.Module):
    """Reads one sample of one lead, through a ReLU."""

    def __init__(self, lead, sample):
        super().__init__()
        self.body, self.lead, self.sample = nn.Sequential(nn.Conv1d(8, 8, 1, groups=8), nn.ReLU()), lead, sample
        with torch.no_grad():
            self.body[0].weight.fill_(1.0)
            self.body[0].bias.fill_(1.0)

    def forward(self, x):
        a = self.body(x)[:, self.lead, self.sample]
        return torch.stack([2 * a, 0 * a], dim=1)


@pytest.mark.parametrize(("lead", "time", "wave"), [("V2", 200, "T"), ("II", -150, "P"), ("V5", 0, "QRS")])
def test_a_net_that_reads_one_sample_of_one_lead_is_mapped_there_and_one_that_reads_nothing_nowhere(lead, time, wave):
    beat = np.random.default_rng(0).uniform(50, 100, (3, 8, 600))
    cohort = made_cohort([TYPICAL] * 3, beat)
    model = wrapped(Spot(wb.LEADS.index(lead), int((time + 500) / 2)))
    for method in EACH:
        maps = wb.attribute(model, cohort, method, **QUICK)
        there = np.abs(maps.sel(target="a")).max("record")
        at = there.sel(lead=lead, time=time)
        assert float(at) > 0, method
        if method == "occlusion":
            first, last = (cohort["fiducial"].sel(landmark=m)[0] for m in WAVES[wave])
            outside = there.where((there.time < first) | (there.time > last) | (there.lead != lead), 0)
        else:
            outside = there.where((there.time != time) | (there.lead != lead), 0)
        assert float(outside.max()) <= 1e-6 * float(at), method
        assert float(np.abs(maps.sel(target="b")).max()) == 0, method


@pytest.mark.parametrize("which", ["measures", "sex_net"])
@pytest.mark.parametrize("baseline", ["flat", "mean"])
@pytest.mark.parametrize("method", ["deeplift", "integrated_gradients"])
def test_maps_that_promise_it_add_up_to_the_prediction(method, which, baseline, request, ludb):
    model, few = request.getfixturevalue(which), ludb.isel(record=slice(3, 7))
    targets = [t for t in ("qt", "t_v5", "male") if t in model.spec.targets]
    maps = wb.attribute(model, few, method, targets, baseline=baseline, steps=100)
    predictions = wb.predict(model, few)
    assert maps.attrs["adds_up"] == "sum"
    for t in targets:
        rise = predictions[t] - maps["bias"].sel(target=t)
        gap = np.abs(maps.sel(target=t).sum(["lead", "time"]) - rise)
        # DeepLIFT's rule is exact; a path integral through ReLUs is as good as its steps.
        assert float(gap.mean()) < {"deeplift": 1e-4, "integrated_gradients": 0.05}[method] * float(np.abs(rise).mean())
        away = wb.attention.departure(maps).sel(target=t).sum(["lead", "time"])
        if method == "deeplift":
            np.testing.assert_allclose(
                away, predictions[t] - predictions[t].mean(), atol=1e-3 * float(np.abs(rise).mean())
            )


def test_maps_that_fail_to_add_up_are_told_of(tiny, cohort):
    class Functional(TinyNet):
        def forward(self, x):
            y = torch.relu(self.features[0](x / 500) - 0.3)  # a function: DeepLIFT cannot see it
            return self.head(torch.relu(self.features[2](y)).mean(dim=2))

    model = wrapped(Functional(), layer="features.2")
    with pytest.warns(UserWarning, match=r"deeplift: for ., maps miss .* use nn.ReLU modules"):
        wb.attribute(model, cohort, "deeplift")
    with pytest.warns(UserWarning, match="take more steps"):
        wb.attribute(model, cohort, "integrated_gradients", steps=1)


def test_guided_gradcam_is_captums_where_positions_are_samples(cohort):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(8, 6, 1), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(6, 2))
    model = wrapped(net, layer="1")
    x = torch.from_numpy(cohort["beat"].values).requires_grad_()
    ours = wb.attribute(model, cohort, "guided_gradcam")
    for k in range(2):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it sets hooks
            theirs = GuidedGradCam(net, net[1]).attribute(x, target=k).detach().numpy() * 600
        np.testing.assert_allclose(ours[:, k], theirs, rtol=1e-3, atol=1e-5 * np.abs(theirs).max())


def test_the_noise_comes_from_the_seed_and_is_the_same_for_every_record(tiny, cohort):
    def smooth(c, seed=0):
        return wb.attribute(tiny, c, "smoothgrad", n_noises=4, noise_uv=200, seed=seed)

    state = torch.get_rng_state()
    once = smooth(cohort)
    xr.testing.assert_identical(once, smooth(cohort))
    assert torch.equal(state, torch.get_rng_state())
    assert np.abs(once - smooth(cohort, 1)).max() > 0
    np.testing.assert_allclose(smooth(cohort.isel(record=[2])), once.isel(record=[2]), rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("method", EACH)
def test_nothing_is_left_behind_even_after_an_error(method, tiny, cohort):
    tiny.train()
    tiny.head.bias.grad = torch.ones(2)
    before = {k: v.clone() for k, v in tiny.state_dict().items()}
    with torch.no_grad():  # whatever mode the caller is in
        wb.attribute(tiny, cohort, method, **QUICK)
    assert torch.is_grad_enabled()
    real, calls = tiny.head.forward, []

    def fails(x):
        calls.append(x)
        if len(calls) > 1:
            raise RuntimeError("boom")
        return real(x)

    tiny.head.forward = fails
    with pytest.raises(RuntimeError, match="boom"):
        wb.attribute(tiny, cohort, method, **QUICK)
    del tiny.head.forward
    assert tiny.training
    for m in tiny.modules():
        assert not any((m._forward_hooks, m._forward_pre_hooks, m._backward_hooks, m._backward_pre_hooks))
        assert not hasattr(m, "input")  # DeepLIFT's notes on a module
    assert tiny.head.bias.grad.tolist() == [1, 1]
    assert all(p.grad is None for p in tiny.features.parameters())
    for k, v in tiny.state_dict().items():
        torch.testing.assert_close(v, before[k])


def test_in_place_activations_are_no_trouble(cohort):
    def net(inplace):
        torch.manual_seed(0)
        body = nn.Sequential(nn.Conv1d(8, 4, 3), nn.ReLU(inplace), nn.Conv1d(4, 4, 3), nn.ReLU(inplace))
        return wrapped(nn.Sequential(body, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 2)), layer="0")

    for method in ("deeplift", "guided_gradcam"):
        model = net(True)
        np.testing.assert_allclose(wb.attribute(model, cohort, method), wb.attribute(net(False), cohort, method))
        assert model[0][1].inplace


def test_records_that_cannot_be_used_are_nan_and_listed_and_change_no_other(tiny, cohort):
    holed = cohort.copy(deep=True)
    holed["beat"][1, 0, 0] = np.nan
    for method in EACH:
        maps = wb.attribute(tiny, holed, method, baseline="mean", **QUICK)
        assert np.isnan(maps).any(["target", "lead", "time"]).values.tolist() == [False, True, False], method
        assert np.isfinite(maps[[0, 2]]).all()
        assert wb.excluded(maps)["record"].tolist() == ["1"]
    alone = wb.attribute(tiny, cohort.isel(record=[0, 2]), "deeplift", baseline="mean")
    holed_maps = wb.attribute(tiny, holed, "deeplift", baseline="mean")
    np.testing.assert_allclose(holed_maps[[0, 2]], alone, rtol=1e-4, atol=1e-6)


def test_occlusion_gives_a_beat_without_p_nothing_there_and_the_rest_as_before(tiny):
    fiducial = np.array([TYPICAL, TYPICAL], dtype=float)
    beat = np.random.default_rng(0).normal(0, 100, (1, 8, 600)).repeat(2, axis=0)
    fiducial[1, :3] = np.nan
    maps = wb.attribute(tiny, made_cohort(fiducial, beat), "occlusion")
    p = (maps.time >= -200) & (maps.time <= -100)
    assert (np.abs(maps[0, :, :, p.values]) > 0).all()
    assert (maps[1, :, :, p.values] == 0).all()
    np.testing.assert_allclose(maps[1, :, :, ~p.values], maps[0, :, :, ~p.values], rtol=1e-5)


def test_maps_are_on_the_networks_leads_and_time_and_align(cohort):
    spec = wb.ModelSpec(
        leads=("V5", "III"), fs=250, n_samples=250, start_ms=-400, targets=("a",), units=("ms",), layer="body"
    )
    net = nn.Sequential(nn.Conv1d(2, 3, 5, padding=2), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    model = nn.Sequential()
    model.add_module("body", net[:2])
    model.add_module("rest", nn.Sequential(net[2:], nn.Linear(3, 1)))
    model = wb.wrap_model(model.eval(), spec)
    for method in EACH:
        maps = wb.attribute(model, cohort, method, **QUICK)
        assert maps.dims == ("record", "target", "lead", "time")
        assert maps["lead"].values.tolist() == ["V5", "III"]
        assert (float(maps.time[0]), float(maps.time[1]), maps.sizes["time"]) == (-400, -396, 250)
        assert maps["patient"].values.tolist() == ["p0", "p1", "p2"]
        aligned = wb.align(maps, cohort)  # all beats have the template's landmarks
        np.testing.assert_allclose(aligned.values, maps.values, atol=1e-5 * float(np.abs(maps).max()))
    np.testing.assert_array_equal(wb.attribute(model, cohort, "ecgradcam"), wb.ecgradcam(model, cohort))


class Reused(TinyNet):
    def forward(self, x):
        relu = self.features[1]
        return self.head(relu(self.features[2](relu(self.features[0](x / 500)))).mean(dim=2))


@pytest.mark.parametrize(
    ("net", "method", "arguments", "message"),
    [
        (TinyNet, "lime", {}, "unknown method"),
        (TinyNet, "saliency", {"targets": "qt"}, "no target"),
        (TinyNet, "deeplift", {"baseline": "white"}, "expected 'flat'"),
        (TinyNet, "guided_gradcam", {"layer": "nowhere"}, "no layer"),
        (Reused, "deeplift", {}, "one activation module per use"),
    ],
)
def test_what_does_not_exist_or_suit_is_refused_by_name(net, method, arguments, message, cohort):
    with pytest.raises(ModelError, match=message):
        wb.attribute(wrapped(net(), layer="features.2"), cohort, method, **arguments)


def test_guided_backpropagation_refuses_a_net_without_relu_modules(cohort):
    net = nn.Sequential(nn.Conv1d(8, 4, 3), nn.GELU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(ModelError, match="has none"):
        wb.attribute(wrapped(net, layer="1"), cohort, "guided_gradcam")


def test_rhythms_have_gradients_and_no_mean_as_they_are(ptbxl):
    spec = wb.ModelSpec("rhythm", n_samples=5000, targets=("a", "b"), layer="features")
    model = wb.wrap_model(TinyNet().eval(), spec)
    few = ptbxl.isel(record=slice(2))
    assert wb.attribute(model, few, "saliency").shape == (2, 2, 8, 5000)
    with pytest.raises(ModelError, match="the beats of recordings lie at other moments in each"):
        wb.attribute(model, few, "deeplift", baseline="mean")


def test_occlusion_of_a_recording_takes_the_wave_from_all_its_beats(ptbxl):
    few = ptbxl.isel(record=slice(3))
    weight = np.random.default_rng(0).normal(size=(1, 8, 5000)) / 1000
    maps = wb.attribute(on_rhythms(LinearInTime(weight)), few, "occlusion")
    for wave, (a, b) in {"P": (0, 2), "T": (6, 8)}.items():
        without = wb.edits.blank(few, wave)["rhythm"].values
        expected = np.einsum("nls,ls->nl", few["rhythm"].values - without, weight[0])
        for i in np.flatnonzero(np.isfinite(without).all(axis=(1, 2))):
            for first, last in few["cycle_fiducial"].values[i][:, [a, b]]:
                if np.isfinite(first + last):
                    shown = maps[i, 0].sel(time=slice(np.ceil(first / 2) * 2, last)).values
                    np.testing.assert_allclose(shown, np.broadcast_to(expected[i][:, None], shown.shape), atol=1e-3)
    with pytest.raises(ModelError, match="rhythm"):
        wb.attribute(on_rhythms(LinearInTime(weight)), wb.open_cohort("ludb").isel(record=slice(2)), "occlusion")


@pytest.mark.parametrize("baseline", ["common", "own time"])
def test_attributions_of_recordings_against_the_common_beat_are_those_of_a_linear_network(ptbxl, baseline):
    some = ptbxl.isel(record=slice(14))
    weight = np.random.default_rng(0).normal(size=(1, 8, 5000)) / 1000
    maps = wb.attribute(on_rhythms(LinearInTime(weight)), some, "integrated_gradients", baseline=baseline, steps=4)
    away = some["rhythm"].values - wb.attention.reference_rhythms(some, baseline).values
    np.testing.assert_allclose(maps.sel(target="hr"), away * weight[0], atol=1e-3)
    total = maps.sum(["lead", "time"]) + maps["reference"]
    np.testing.assert_allclose(
        total.sel(target="hr"), wb.predict(on_rhythms(LinearInTime(weight)), some)["hr"], atol=0.01
    )


@pytest.mark.parametrize("baseline", ["common", "own time"])
def test_integrated_gradients_from_a_mean_of_aligned_beats_add_up(measures, ludb, baseline):
    some = ludb.isel(record=slice(20))
    maps = wb.attribute(measures, some, "integrated_gradients", ["qt", "r_v5"], baseline=baseline, steps=128)
    assert maps.attrs["baseline"] == baseline
    beats = some.assign(beat=wb.attention.reference_beats(some, baseline))
    of_baseline = wb.predict(measures, beats)
    predicted = wb.predict(measures, some)
    for t in ("qt", "r_v5"):
        rise = predicted[t].values - of_baseline[t].values
        gap = maps.sel(target=t).sum(["lead", "time"]).values - rise
        assert np.abs(gap).mean() < 0.05 * np.abs(rise).mean()
    if baseline == "common":
        assert maps.attrs["adds_up"] == "sum"
        np.testing.assert_allclose(maps["bias"].sel(target="qt"), of_baseline["qt"].values[0], rtol=1e-5)
    else:
        np.testing.assert_allclose(maps["reference"].sel(target="qt"), of_baseline["qt"], rtol=1e-5)


def test_a_baseline_without_an_answer_is_told_of(cohort):
    class Scales(TinyNet):
        def forward(self, x):
            return super().forward(x / x.std(dim=(1, 2), keepdim=True))

    model = wrapped(Scales(), layer="features")
    with pytest.warns(UserWarning, match="no finite number for the baseline"):
        wb.attribute(model, cohort, "integrated_gradients", **QUICK)
