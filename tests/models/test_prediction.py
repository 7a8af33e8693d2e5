import copy
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from conftest import TYPICAL, TinyNet, made_cohort
from torch import nn

import ecgwb as wb
from ecgwb.models.prediction import model_input
from ecgwb.models.spec import ModelError


def test_wrapping_and_predicting_leave_the_model_as_it_was(tiny, ludb):
    tiny.train()
    tiny.features[1].eval()
    before = [m.training for m in tiny.modules()], {k: v.clone() for k, v in tiny.state_dict().items()}
    wb.predict(tiny, ludb)
    assert [m.training for m in tiny.modules()] == before[0]
    for k, v in tiny.state_dict().items():
        torch.testing.assert_close(v, before[1][k])


def test_predictions_do_not_depend_on_the_company_a_record_keeps(measures, ludb):
    everyone = wb.predict(measures, ludb)
    one = wb.predict(measures, ludb.isel(record=[17]))
    np.testing.assert_allclose(one["qt"].values, everyone["qt"].values[17:18], rtol=1e-5)


def test_a_record_that_cannot_be_used_is_nan_and_listed(measures, ludb):
    some = ludb.isel(record=slice(4)).copy(deep=True)
    some["beat"][1, 2, 100] = np.nan
    some["beat"][3] = 0.0
    predictions = wb.predict(measures, some)
    assert np.isnan(predictions["pr"].values).tolist() == [False, True, False, True]
    assert wb.excluded(predictions)["record"].tolist() == some["record"].values[[1, 3]].tolist()


def test_leads_are_picked_ordered_and_scaled_as_the_spec_says(ludb):
    class First(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Identity()

        def forward(self, x):  # the first lead's value at time zero
            return self.conv(x)[:, :1, 125]

    spec = wb.ModelSpec(leads=("V3", "I"), fs=250, n_samples=300, scale=0.001, targets=("v",), layer="conv")
    predictions = wb.predict(wb.wrap_model(First(), spec), ludb)["v"]
    expected = ludb["beat"].sel(lead="V3", time=0.0) / 1000
    # Halving the rate takes what lies above 125 Hz off the R peak (most of a pacing spike), no more.
    assert float(np.abs(predictions - expected).median()) < 0.02
    assert np.corrcoef(predictions, expected)[0, 1] > 0.998


def test_a_cohort_that_lacks_something_is_refused_by_name(tiny, ludb):
    with pytest.raises(ModelError, match="needs lead V5; the cohort has I, II, V1"):
        wb.predict(tiny, ludb.sel(lead=[x for x in wb.LEADS if x != "V5"]))
    right = wb.ModelSpec(leads=("V4R", *wb.LEADS[1:]), targets=("a", "b"), layer="features")
    with pytest.raises(ModelError, match="needs lead V4R; the cohort has I, II"):
        wb.predict(wb.wrap_model(TinyNet(), right), ludb)
    spec = wb.ModelSpec(input="rhythm", n_samples=5000, targets=("a", "b"), layer="features")
    with pytest.raises(ModelError, match="rhythm=True"):
        wb.predict(wb.wrap_model(TinyNet(), spec), ludb)
    long = wb.ModelSpec(n_samples=900, targets=("a", "b"), layer="features")
    with pytest.raises(ModelError, match="hold 600 samples"):
        wb.predict(wb.wrap_model(TinyNet(), long), ludb)
    with pytest.raises(ModelError, match="has no ModelSpec"):
        wb.predict(TinyNet(), ludb)


def test_patients_a_network_has_seen_are_marked_and_warned_of(sex_net, ptbxl, ludb):
    predictions = wb.predict(sex_net, ptbxl)
    np.testing.assert_array_equal(predictions["seen"], ptbxl["fold"].values <= 9)
    with pytest.warns(UserWarning, match="patients whose data shaped the network"):
        wb.accuracy_table(predictions, ptbxl)
    wb.accuracy_table(
        predictions.isel(record=~predictions["seen"].values), ptbxl
    )  # no warning, which would be an error here
    assert not wb.predict(sex_net, ludb)["seen"].any()


def test_sex_is_given_as_log_odds_with_its_probability(sex_net, ludb):
    predictions = wb.predict(sex_net, ludb)
    assert predictions["male"].attrs["units"] == "log-odds"
    assert predictions["male_probability"].attrs["units"] == "1"
    np.testing.assert_allclose(predictions["male_probability"], 1 / (1 + np.exp(-predictions["male"])))


def test_a_network_on_other_limb_leads_gets_them_from_i_and_ii(tiny):
    cohort = made_cohort([TYPICAL, TYPICAL])
    spec = wb.ModelSpec(leads=("aVF", "III", *wb.LEADS[2:]), targets=("a", "b"), layer="features")
    x, _ = model_input(wb.wrap_model(TinyNet(), spec), cohort)
    i, ii = (cohort["beat"].sel(lead=lead).values for lead in ("I", "II"))
    np.testing.assert_allclose(x[:, 0], ii - i / 2, atol=1e-3)
    np.testing.assert_allclose(x[:, 1], ii - i, atol=1e-3)


def test_model_input_is_the_beat_itself(tiny):
    cohort = made_cohort([TYPICAL, TYPICAL])
    x, usable = model_input(tiny, cohort)
    np.testing.assert_array_equal(x, cohort["beat"].values)
    assert usable.all()


def test_whom_a_network_has_seen_another_of_its_recipe_answers_for(tiny, ludb, tmp_path):
    some = ludb.isel(record=slice(6))
    patients = some["patient"].values.astype(str).tolist()
    other = copy.deepcopy(tiny)
    with torch.no_grad():
        other.head.bias += 5.0
    wb.save_model(wb.wrap_model(other, tiny.spec), tmp_path / "other.safetensors")
    spec = replace(
        tiny.spec, trained_on={"ludb": patients[:2]}, out_of_fold={patients[0]: str(tmp_path / "other.safetensors")}
    )
    model = wb.wrap_model(tiny, spec)
    plain = wb.predict(model, some)
    assert plain["seen"].values.tolist() == [True, True, False, False, False, False]
    with pytest.raises(ModelError, match=f"patient of record '{some['record'].values[1]}'"):
        wb.predict(model, some, out_of_fold=True)
    here = some.isel(record=[2, 0, 3])
    predictions = wb.predict(model, here, out_of_fold=True)
    assert predictions["record"].values.tolist() == here["record"].values.tolist()
    assert not predictions["seen"].any()
    np.testing.assert_allclose(predictions["a"].values - plain["a"].values[[2, 0, 3]], [0.0, 5.0, 0.0], atol=1e-4)
    maps = wb.models.unseen(partial(wb.ecgradcam, targets="a"), model, here)
    assert maps["record"].values.tolist() == here["record"].values.tolist()
    told = maps.mean("time").sel(target="a") + maps["bias"].sel(target="a")
    np.testing.assert_allclose(told, predictions["a"], atol=1e-3)  # each with its own network's bias
    with pytest.raises(TypeError, match="expected a function, such as"):
        wb.models.unseen(maps, model, here)
    with pytest.raises(TypeError, match="a value of each record"):
        wb.models.unseen(lambda net, some: wb.predict(net, some).to_dataframe(), model, here)


def test_a_network_that_answers_for_another_must_be_alike_and_not_have_seen_the_person(tiny, ludb, tmp_path):
    some = ludb.isel(record=slice(3))
    who = some["patient"].values.astype(str).tolist()[:1]
    spec = replace(tiny.spec, trained_on={"ludb": who}, out_of_fold={who[0]: str(tmp_path / "other.safetensors")})
    for other, message in (
        (replace(spec, out_of_fold={}), "has learnt from some, too"),
        (replace(tiny.spec, targets=("a", "c")), "predicts a, c"),
    ):
        wb.save_model(wb.wrap_model(copy.deepcopy(tiny), other), tmp_path / "other.safetensors")
        with pytest.raises(ModelError, match=message):
            wb.predict(wb.wrap_model(tiny, spec), some, out_of_fold=True)
    with pytest.raises(ModelError, match=r"as version 0\.1 kept"):
        replace(spec, out_of_fold={"ludb": {"1": [1.0, 2.0]}})


def test_folds_that_are_numbers_of_another_kind_or_lost_are_noticed(sex_net, ptbxl):
    some = ptbxl.isel(record=slice(20)).assign_coords(patient=("record", [""] * 20))
    expected = wb.predict(sex_net, some)["seen"].values
    for fold in (some["fold"].values.astype(float), some["fold"].values.astype(str)):
        np.testing.assert_array_equal(wb.predict(sex_net, some.assign_coords(fold=("record", fold)))["seen"], expected)
    np.testing.assert_array_equal(wb.predict(sex_net, some.drop_vars("patient"))["seen"], expected)
    with pytest.warns(UserWarning, match="has lost its attribute or column of folds"):
        assert wb.predict(sex_net, some.drop_vars("fold"))["seen"].all()


def test_a_fold_stands_for_people_who_are_not_named(tiny, ludb):
    some = ludb.isel(record=slice(6))
    unnamed = some.assign_coords(patient=("record", [""] * 6)).assign_attrs(folds="ptbxl", source="ptbxl")
    spec = replace(tiny.spec, trained_on={"ptbxl": ["ptbxl fold 1"]}, out_of_fold={"ptbxl fold 1": ""})
    predictions = wb.predict(wb.wrap_model(tiny, spec), unnamed)
    np.testing.assert_array_equal(predictions["seen"], some["fold"] == 1)
    again = wb.predict(tiny, unnamed, out_of_fold=True)  # it answers itself, and says that they shaped it
    np.testing.assert_array_equal(again["seen"], predictions["seen"])
    np.testing.assert_array_equal(again["a"], predictions["a"])
    assert not wb.predict(tiny, some)["seen"].any()  # LUDB's folds are not PTB-XL's
    with pytest.warns(UserWarning, match="whom it has seen is not known"):
        predictions = wb.predict(wb.wrap_model(tiny, replace(tiny.spec, trained_on={"mine": ["ptbxl-7"]})), unnamed)
    assert predictions["seen"].all()


def test_a_cohort_without_patients_is_predicted_and_nobody_called_seen(tiny, ludb):
    predictions = wb.predict(tiny, ludb.isel(record=slice(3)).drop_vars("patient"))
    assert "seen" not in predictions.coords
    assert np.isfinite(predictions["a"]).all()


def test_the_same_people_under_another_source_are_seen_too(measures, ptbxl):
    elsewhere = ptbxl.isel(record=slice(40)).assign_attrs(source="ptbxl")
    expected = wb.predict(measures, ptbxl.isel(record=slice(40)))["seen"]
    assert 20 < expected.sum() < 40
    np.testing.assert_array_equal(wb.predict(measures, elsewhere)["seen"], expected)
    with pytest.raises(ModelError, match="names no network that has not"):
        wb.predict(measures, elsewhere, out_of_fold=True)


def test_other_peoples_records_of_the_same_name_are_refused(measures, ludb, ptbxl):
    ludb = ludb.isel(record=slice(100))
    predictions = wb.predict(measures, ludb)
    with pytest.raises(ValueError, match="record '1' is patient 'ludb-1' in the values and 'ptbxl-"):
        wb.accuracy_table(predictions, ptbxl)
    with pytest.raises(ValueError, match="give the cohort that the values come from"):
        wb.align(wb.ecgradcam(measures, ludb, "qt"), ptbxl)


def test_beats_in_millivolts_are_refused(measures, ludb):
    some = ludb.isel(record=slice(5)).copy()
    some["beat"] = some["beat"] / 1000
    with pytest.raises(ModelError, match="Signals in mV are to be multiplied by 1000"):
        wb.predict(measures, some)


def test_recordings_are_edited_with_their_beats():
    cohort = wb.open_cohort("ludb", rhythm=True).isel(record=slice(3))
    net = wb.load_model("compact-rhythm")
    before = wb.predict(net, cohort)
    longer, lower = (
        wb.predict(net, wb.edits.stretch(cohort, "QT", 20)),
        wb.predict(net, wb.edits.scale(cohort, "T", 0.8)),
    )
    assert (longer["qt"] > before["qt"] + 8).all()
    assert (abs(lower["t_v5"]) < abs(before["t_v5"]) - 10).all()


def test_slips_are_named(measures, ludb):
    with pytest.raises(ModelError, match="load the network first"):
        wb.predict("compact-measures", ludb)
    for call in (wb.ecgradcam, lambda m, c: wb.attribute(m, c, "saliency")):
        with pytest.raises(ValueError, match="has no dimension 'record'"):
            call(measures, ludb.isel(record=0))
    assert wb.ModelSpec(targets="qt", units="ms", layer="x").targets == ("qt",)
    one = ludb.isel(record=[0])
    np.testing.assert_array_equal(wb.attribute(measures, one, "guided"), wb.ecgradcam(measures, one, variant="guided"))


def test_a_network_that_gives_no_number_is_named(ludb):
    class Nothing(TinyNet):
        def forward(self, x):
            return super().forward(x) * float("nan")

    spec = wb.ModelSpec(targets=("a", "b"), layer="features")
    with pytest.warns(UserWarning, match="gives no finite number for 200 of 200 records, such as '1'"):
        predictions = wb.predict(wb.wrap_model(Nothing(), spec), ludb)
    assert np.isnan(predictions["a"]).all()


def test_what_a_network_keeps_of_a_pass_serves_its_gradients_too(ludb):
    class Keeps(TinyNet):
        """Makes the places of its tokens once, as rotary embeddings do."""

        kept = None

        def forward(self, x):
            a = self.features(x / 500)
            self.kept = torch.arange(a.shape[2], dtype=a.dtype).cos() if self.kept is None else self.kept
            self.seen = a
            return self.head((a * self.kept).mean(dim=2))

    few, spec = ludb.isel(record=slice(3)), wb.ModelSpec(targets=("a", "b"), layer="features")
    model = wb.wrap_model(Keeps().eval(), spec)
    wb.predict(model, few)
    assert not model.kept.is_inference()
    assert wb.ecgradcam(model, few).notnull().all()
    assert wb.attribute(model, few, "saliency").notnull().all()  # after which `seen` is part of a graph
    assert wb.attribute(model, few, "guided_gradcam").notnull().all()


def test_lazy_layers_are_made_as_the_networks_own(ludb):
    lazy = nn.Sequential(nn.LazyConv1d(4, 7), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.LazyLinear(2))
    model = wb.wrap_model(lazy, wb.ModelSpec(targets=("a", "b")))
    assert wb.ecgradcam(model, ludb.isel(record=slice(3))).notnull().all()
    model(torch.zeros(2, 8, 600)).sum().backward()


@pytest.mark.parametrize("in_place", [False, True])
def test_a_network_that_averages_what_it_sees_learns_nothing_from_being_explained(in_place, ludb):
    class Averages(TinyNet):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.zeros(8))

        def forward(self, x):
            new = 0.9 * self.mean + 0.1 * x.mean(dim=(0, 2))
            if in_place:
                self.mean.copy_(new)
            else:
                self.mean = new
            return super().forward(x)

    few, net = ludb.isel(record=slice(3)), Averages()
    own = net.mean
    model = wb.wrap_model(net, wb.ModelSpec(targets=("a", "b"), layer="features"))
    wb.predict(model, few)
    wb.ecgradcam(model, few)
    for method in ("saliency", "deeplift", "occlusion"):
        wb.attribute(model, few, method)
    assert net.mean is own
    assert not own.requires_grad
    assert (own == 0).all()


def test_a_first_normalisation_called_by_name_is_compared_too(ludb):
    class Named(TinyNet):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(8)
            self.norm.running_var += 2

        def forward(self, x):
            return super().forward(self.norm(input=x))

    model = wb.wrap_model(Named().eval(), wb.ModelSpec(targets=("a", "b"), layer="features"))
    with pytest.warns(UserWarning, match="first batch normalisation"):
        wb.predict(model, ludb)


def test_people_whom_no_name_or_fold_tells_from_those_learnt_from_are_warned_of(ludb):
    network, some = wb.load_model("compact-sex"), ludb.isel(record=slice(12))
    with pytest.warns(UserWarning, match="nobody of 'mine' is known to the network by patient or fold"):
        wb.predict(network, some.assign_attrs(source="mine"), out_of_fold=True)
    wb.predict(network, some, out_of_fold=True)  # warnings are errors here: LUDB is known to be apart


def test_a_cohort_in_place_of_the_network_is_told_of(ludb, measures):
    with pytest.raises(ModelError, match="where a network was expected there is a cohort"):
        wb.predict(ludb, measures)
