"""What a spec says is done to an ECG and to a network's outputs."""

import numpy as np
import pytest
import torch
from conftest import TinyNet
from torch import nn

import ecgwb as wb
from ecgwb.models.interface import ecg_network
from ecgwb.models.prediction import model_input
from ecgwb.models.spec import ModelError, NetworkError


@pytest.fixture(scope="module")
def rhythms(ptbxl):
    return ptbxl.isel(record=slice(12))


class Asked(nn.Module):
    """Keeps what it was given, and returns the mean of each lead, or what `answer` makes of it."""

    def __init__(self, answer=lambda y: y):
        super().__init__()
        self.answer = answer

    def forward(self, x):
        self.given = x
        return self.answer(x.double().mean(dim=tuple(range(2, x.ndim))) if x.ndim < 4 else x.mean(dim=(1, 3)))


def means_of(leads, **fields):
    """A spec for recordings at 100 Hz of which a network gives one number a lead."""
    defaults = {
        "input": "rhythm",
        "leads": leads,
        "fs": 100,
        "n_samples": 1000,
        "targets": tuple(f"m{k}" for k in leads),
    }
    return wb.ModelSpec(**(defaults | fields))


def test_a_layout_is_what_the_network_gets(rhythms):
    leads = ("II", "V1", "aVR")
    for layout, shape in (
        ("record lead sample", (12, 3, 1000)),
        ("record sample lead", (12, 1000, 3)),
        ("record 1 lead sample", (12, 1, 3, 1000)),
    ):
        net = Asked(lambda y: y[:, :3] if y.shape[1] >= 3 else y)
        model = wb.wrap_model(net, means_of(leads, layout=layout))
        predictions = wb.predict(model, rhythms)
        assert net.given.shape[1:] == shape[1:]
        x = model_input(model, rhythms)[0]
        got = net.given.reshape(-1, *shape[1:]).squeeze(1) if layout == "record 1 lead sample" else net.given
        got = got.transpose(1, 2) if layout == "record sample lead" else got
        np.testing.assert_array_equal(got.numpy(), x[-len(got) :])
        assert np.isfinite(predictions["mII"]).all()


@pytest.mark.parametrize("how", ["z-score by record", "z-score by lead", "min-max by record", "min-max by lead"])
def test_each_input_is_normalised_as_said(rhythms, how):
    net = Asked()
    model = wb.wrap_model(net, means_of(("II", "V1"), normalise=how, scale=0.001))
    wb.predict(model, rhythms)
    x = model_input(model, rhythms)[0][-len(net.given) :]
    over = (1, 2) if how.endswith("record") else (2,)
    if how.startswith("z"):
        wanted = (x - x.mean(axis=over, keepdims=True)) / x.std(axis=over, keepdims=True)
    else:
        low, high = x.min(axis=over, keepdims=True), x.max(axis=over, keepdims=True)
        wanted = (x - low) / (high - low)
    np.testing.assert_allclose(net.given.numpy(), wanted, atol=1e-4)


def test_constants_are_per_lead_and_flat_leads_stay_finite(rhythms):
    net = Asked()
    model = wb.wrap_model(net, means_of(("II", "V1"), normalise="constants", mean=(10, -20.0), sd=200))
    wb.predict(model, rhythms)
    x = model_input(model, rhythms)[0][-len(net.given) :]
    np.testing.assert_allclose(net.given.numpy(), (x - [[10], [-20]]) / 200, atol=1e-4)
    flat = torch.zeros(1, 2, 1000, requires_grad=True)
    for how in ("z-score by record", "min-max by lead"):
        y = ecg_network(wb.wrap_model(Asked(), means_of(("II", "V1"), normalise=how)))(flat)
        assert torch.isfinite(torch.autograd.grad(y.sum(), flat)[0]).all()
        assert (y == 0).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"normalise": "constants"}, "'constants' takes both"),
        ({"normalise": "zscore"}, "expected '', 'z-score by record'"),
        ({"mean": (1.0,), "sd": (1.0,)}, "the others take none"),
        ({"normalise": "constants", "mean": 0.0, "sd": 0.0}, "above 0"),
        ({"normalise": "constants", "mean": float("nan"), "sd": 1.0}, "expected numbers"),
        ({"normalise": "constants", "mean": 0.0, "sd": float("inf")}, "expected numbers"),
        ({"layout": "lead sample"}, "spec.layout is"),
        ({"windows": "mean", "pad": "end"}, "both windows and pad"),
        ({"windows": "first", "window_step": 10}, "window_step"),
        ({"windows": "mean", "input": "beat"}, "cuts recordings"),
        ({"columns": (1, 2, 3)}, "3 columns for 2 targets"),
        ({"layer_axes": ("record", "time", "channel")}, "'record' and 'position' once"),
    ],
)
def test_a_spec_that_contradicts_itself_is_refused(fields, message):
    with pytest.raises(ModelError, match=message):
        means_of(("II", "V1"), **fields)


def test_an_ecg_shorter_than_the_input_is_padded_where_said(rhythms):
    for pad, first in (("centre", 48), ("start", 96), ("end", 0)):
        net = Asked()
        model = wb.wrap_model(net, means_of(("II", "V1"), fs=400, n_samples=4096, pad=pad, normalise="z-score by lead"))
        wb.predict(model, rhythms)
        assert net.given.shape[2] == 4096
        inside = net.given[:, :, first : first + 4000]
        assert (inside.std(dim=2, correction=0) - 1).abs().max() < 1e-4
        assert float(net.given.abs().sum()) == pytest.approx(float(inside.abs().sum()), rel=1e-5)
    with pytest.raises(ModelError, match="pad='centre'"):
        wb.predict(wb.wrap_model(Asked(), means_of(("II", "V1"), fs=400, n_samples=4096)), rhythms)


def test_a_network_for_pieces_sees_them_all_and_is_never_given_the_first_in_silence(rhythms):
    leads = ("II", "V1")
    with pytest.raises(ModelError, match="say what is done with the rest"):
        wb.predict(wb.wrap_model(Asked(), means_of(leads, n_samples=250)), rhythms)
    pieces = rhythms["rhythm"].sel(lead=list(leads)).values
    whole = model_input(wb.wrap_model(Asked(), means_of(leads)), rhythms)[0]
    assert pieces.shape[2] == 5 * whole.shape[2]
    cut = np.stack([whole[:, :, s : s + 250] for s in range(0, 1000, 250)]).mean(axis=3)  # (window, record, lead)
    for how, wanted in (("first", cut[0]), ("mean", cut.mean(axis=0)), ("max", cut.max(axis=0))):
        got = wb.predict(wb.wrap_model(Asked(), means_of(leads, n_samples=250, windows=how)), rhythms)
        np.testing.assert_allclose(np.stack([got["mII"], got["mV1"]], axis=1), wanted, rtol=1e-3, atol=1e-3)
    overlapping = ecg_network(wb.wrap_model(Asked(), means_of(leads, n_samples=250, windows="mean", window_step=125)))
    assert overlapping.starts(1000) == [0, 125, 250, 375, 500, 625, 750]


@pytest.mark.parametrize(
    ("answer", "output"),
    [
        (lambda y: (y[:, :1], y), 1),
        (lambda y: {"features": y[:, :1], "logits": y}, "logits"),
        (lambda y: {"head": (y, 0)}, ("head", 0)),
        (lambda y: y[:, :, None].expand(-1, -1, 7), lambda y: y.mean(dim=2)),
        (lambda y: y[:, :, None], None),
    ],
)
def test_outputs_are_found_wherever_they_are(rhythms, answer, output):
    leads = ("II", "V1")
    plain = wb.predict(wb.wrap_model(Asked(), means_of(leads)), rhythms)
    got = wb.predict(wb.wrap_model(Asked(answer), means_of(leads, output=output)), rhythms)
    for t in ("mII", "mV1"):
        np.testing.assert_allclose(got[t], plain[t], rtol=1e-6)


def test_one_number_a_record_and_some_of_many_columns(rhythms):
    plain = wb.predict(wb.wrap_model(Asked(), means_of(("II", "V1"))), rhythms)
    one = wb.wrap_model(Asked(lambda y: y[:, 1]), means_of(("II", "V1"), targets=("v",)))
    np.testing.assert_allclose(wb.predict(one, rhythms)["v"], plain["mV1"], rtol=1e-6)
    some = wb.wrap_model(Asked(), means_of(("II", "V1"), targets=("v",), columns=1))
    np.testing.assert_allclose(wb.predict(some, rhythms)["v"], plain["mV1"], rtol=1e-6)
    for fields, message in (
        ({"targets": ("v",)}, "choose some with spec.columns"),
        ({"targets": ("v",), "columns": 5}, "in columns"),
        ({"output": "logits"}, "the network returns"),
    ):
        with pytest.raises(ModelError, match=message):
            wb.wrap_model(Asked(), means_of(("II", "V1"), **fields))
    with pytest.raises(ModelError, match=r"a tuple of .* spec.output"):
        wb.wrap_model(Asked(lambda y: (y, y)), means_of(("II", "V1")))


def test_log_odds_are_predicted_of_logits_probabilities_and_classes_alike(rhythms):
    leads = ("II", "V1", "V5")
    x = wb.predict(wb.wrap_model(Asked(lambda y: y / 10), means_of(leads)), rhythms)
    z = np.stack([x[f"m{k}"] for k in leads], axis=1)
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    got = {
        "softmax": wb.wrap_model(Asked(lambda y: y / 10), means_of(leads, link="softmax")),
        "probability": wb.wrap_model(Asked(lambda y: (y / 10).softmax(dim=1)), means_of(leads, link="probability")),
    }
    for model in got.values():
        predictions = wb.predict(model, rhythms)
        for k, lead in enumerate(leads):
            np.testing.assert_allclose(predictions[f"m{lead}"], np.log(p[:, k] / (1 - p[:, k])), rtol=1e-3, atol=1e-3)
            np.testing.assert_allclose(predictions[f"m{lead}_probability"], p[:, k], rtol=1e-3, atol=1e-6)
            assert predictions[f"m{lead}"].attrs["units"] == "log-odds"


def test_probabilities_taken_for_log_odds_are_told_of():
    net = nn.Sequential(nn.Flatten(), nn.Linear(8 * 600, 2), nn.Sigmoid())
    with pytest.warns(UserWarning, match="say link='probability'"):
        wb.wrap_model(net, wb.ModelSpec(targets=("a", "b"), link="logit"))
    with pytest.raises(ModelError, match="expected 0 to 1"):
        wb.wrap_model(net[:2], wb.ModelSpec(targets=("a", "b"), link="probability"))


def test_a_networks_own_weights_decide_the_inputs_type(ptbxl):
    few = ptbxl.isel(record=slice(5))
    torch.manual_seed(0)
    net = TinyNet().eval()
    spec = wb.ModelSpec(targets=("a", "b"), layer="features")
    single = wb.predict(wb.wrap_model(net, spec), few)
    double = wb.predict(wb.wrap_model(net.double(), spec), few)
    np.testing.assert_allclose(double["a"], single["a"], rtol=1e-4)
    assert np.isfinite(wb.ecgradcam(net, few)).all()


def test_a_network_in_the_wrong_units_is_told_of_by_its_first_normalisation(ptbxl):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv1d(8, 4, 9),
        nn.BatchNorm1d(4, momentum=None),
        nn.ReLU(),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(4, 1),
    )
    beats = torch.from_numpy(ptbxl["beat"].values)
    for _ in range(120):
        net(beats / 1000)  # trained on mV
    right = wb.ModelSpec(targets=("a",), scale=0.001, layer="0")
    wb.predict(wb.wrap_model(net.eval(), right), ptbxl)  # warnings are errors here
    with pytest.warns(UserWarning, match="times the variance of its training"):
        wb.predict(wb.wrap_model(net, wb.ModelSpec(targets=("a",), layer="0")), ptbxl)


def test_an_error_inside_a_network_is_the_networks(ptbxl):
    class Fails(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv1d(8, 4, 9), nn.Conv1d(5, 4, 9)

        def forward(self, x):
            return self.second(self.first(x)).mean(dim=2)

    with pytest.raises(NetworkError, match=r"RuntimeError: .*; in layer 'second' \(Conv1d\), which got \(3, 4, 592\)"):
        wb.wrap_model(Fails(), wb.ModelSpec(targets=("a", "b", "c", "d")))


def test_answers_that_depend_on_chance_or_on_other_records_are_told_of():
    class Noisy(TinyNet):
        def forward(self, x):
            return nn.functional.dropout(super().forward(x), 0.5)

    class OfABatch(TinyNet):
        def forward(self, x):
            return super().forward(x - x.mean(dim=0))

    spec = wb.ModelSpec(targets=("a", "b"), layer="features")
    with pytest.warns(UserWarning, match="from call to call"):
        wb.wrap_model(Noisy().eval(), spec)
    with pytest.warns(UserWarning, match="with the other records of a batch"):
        wb.wrap_model(OfABatch().eval(), spec)


def test_saturated_probabilities_are_told_of_and_others_keep_their_log_odds(ptbxl):
    few = ptbxl.isel(record=slice(6))
    logits = torch.tensor([-40.0, -18.0, 0.0, 12.0, 15.0, 30.0])[:, None]

    class Sure(nn.Module):
        def forward(self, x):
            return torch.sigmoid(logits[: len(x)]) if len(x) == 6 else torch.sigmoid(x.mean(dim=(1, 2)) / 100)[:, None]

    model = wb.wrap_model(Sure(), wb.ModelSpec(targets=("a",), link="probability"))
    with pytest.warns(UserWarning, match="1 of 6 records have a probability of 0 or 1"):
        got = wb.predict(model, few)["a"].values
    np.testing.assert_allclose(got[:5], logits[:5, 0], rtol=0.02)
    assert 17 < got[5] < 18
    with pytest.raises(ModelError, match="two classes or more"):
        wb.wrap_model(Sure(), wb.ModelSpec(targets=("a",), link="softmax"))


def test_an_output_that_loses_the_axis_of_a_single_record_is_read(rhythms):
    for leads in (("II",), ("II", "V1")):
        plain = wb.predict(wb.wrap_model(Asked(), means_of(leads)), rhythms)
        squeezed = wb.wrap_model(Asked(lambda y: y.squeeze()), means_of(leads))
        for t in plain:
            np.testing.assert_allclose(wb.predict(squeezed, rhythms)[t], plain[t], rtol=1e-6)
            one = wb.predict(squeezed, rhythms.isel(record=[3]))
            np.testing.assert_allclose(one[t], plain[t][3:4], rtol=1e-6)


class InPlace(TinyNet):
    """Takes the mean of each lead away from its input itself."""

    def forward(self, x):
        x -= x.mean(dim=2, keepdim=True)
        return super().forward(x)


def test_a_network_that_changes_its_input_in_place_changes_no_ecg_of_ours(ludb):
    class Aside(TinyNet):
        def forward(self, x):
            return super().forward(x - x.mean(dim=2, keepdim=True))

    few, spec = ludb.isel(record=slice(3)), wb.ModelSpec(targets=("a", "b"), layer="features")
    one, other = wb.wrap_model(InPlace().eval(), spec), wb.wrap_model(Aside().eval(), spec)
    np.testing.assert_array_equal(wb.predict(one, few)["a"], wb.predict(other, few)["a"])
    np.testing.assert_array_equal(wb.ecgradcam(one, few), wb.ecgradcam(other, few))
    for method in ("saliency", "integrated_gradients", "deeplift", "guided_gradcam", "occlusion"):
        np.testing.assert_array_equal(wb.attribute(one, few, method, "a"), wb.attribute(other, few, method, "a"))


def test_a_network_that_undoes_its_own_gradient_is_told_where(ludb):
    class Undone(TinyNet):
        def forward(self, x):
            x = x - x.mean(dim=2, keepdim=True)
            x /= x.std(dim=2, keepdim=True) + 1
            return super().forward(x)

    model = wb.wrap_model(Undone().eval(), wb.ModelSpec(targets=("a", "b"), layer="features"))
    assert wb.predict(model, ludb.isel(record=slice(3)))["a"].notnull().all()
    for explain in (wb.models.layers, lambda m: wb.attribute(m, ludb.isel(record=slice(3)), "saliency")):
        with pytest.raises(NetworkError, match="changes a tensor in place that its gradient needs"):
            explain(model)


@pytest.mark.parametrize("leave", [lambda x: x.round().long().float(), lambda x: torch.from_numpy(x.detach().numpy())])
def test_a_network_without_a_gradient_is_told_what_needs_none(leave, ludb):
    class Leaves(TinyNet):
        def forward(self, x):
            return super().forward(leave(x))

    few, model = (
        ludb.isel(record=slice(3)),
        wb.wrap_model(Leaves().eval().requires_grad_(False), wb.ModelSpec(targets=("a", "b"))),
    )
    for method in ("saliency", "integrated_gradients"):
        with pytest.raises(ModelError, match=r"no gradient leads .* wb\.edit_map and occlusion"):
            wb.attribute(model, few, method)
    assert wb.attribute(model, few, "occlusion").notnull().all()


def test_a_network_may_refuse_signals_that_no_heart_makes():
    class Careful(TinyNet):
        def forward(self, x):
            assert x.abs().max() < 100_000, "not in µV"
            return super().forward(x)

    wb.wrap_model(Careful().eval(), wb.ModelSpec(targets=("a", "b"), layer="features"))
    with pytest.raises(NetworkError, match="not in µV"):
        wb.wrap_model(Careful().eval(), wb.ModelSpec(targets=("a", "b"), layer="features", scale=1000))


def test_an_error_of_the_output_function_is_told(rhythms):
    with pytest.raises(ModelError, match=r"the network returns \(3, 1\) \(ZeroDivisionError"):
        wb.wrap_model(Asked(), means_of(("II",), output=lambda y: y / (1 // 0)))
