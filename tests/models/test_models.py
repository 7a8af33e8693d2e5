from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import TYPICAL, TinyNet, made_cohort
from safetensors.torch import save_file
from torch import nn

import ecgwb as wb
from ecgwb.models.networks import KanResModule, LongConv1d
from ecgwb.models.prediction import model_input
from ecgwb.models.spec import CompactNet, KanResWideX, ModelError


def count(net):
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(("leads", "outputs", "samples"), [(8, 8, 600), (12, 1, 600), (8, 3, 5000)])
def test_kanres_takes_any_leads_and_length(leads, outputs, samples):
    net = KanResWideX(leads, outputs).eval()
    with torch.inference_mode():
        assert net(torch.zeros(2, leads, samples)).shape == (2, outputs)


def test_kanres_has_the_papers_number_of_parameters():
    assert count(KanResWideX()) == 1_651_496


@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")
def test_a_kanres_module_pads_as_torch_does():
    torch.manual_seed(0)
    ours = KanResModule().eval()
    x = torch.randn(2, 32, 99)
    y = x
    for conv, bn in ((ours.conv1, ours.bn1), (ours.conv2, ours.bn2)):
        y = torch.relu(bn(nn.functional.conv1d(y, conv.weight, conv.bias, padding="same")))
    torch.testing.assert_close(ours(x), x + y)


def test_a_long_convolution_in_training_has_the_values_and_gradients_of_torchs():
    torch.manual_seed(0)
    long = LongConv1d(6, 5, 50).train()
    plain = nn.Conv1d(6, 5, 50)
    plain.load_state_dict(long.state_dict())
    x, weight = torch.randn(2, 3, 6, 349), torch.randn(3, 5, 300)
    ours, theirs = x[0].clone().requires_grad_(), x[0].clone().requires_grad_()
    for conv, given in ((long, ours), (plain, theirs)):
        (conv(given) * weight).sum().backward()
    torch.testing.assert_close(long(x[1]), plain(x[1]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(long.weight.grad, plain.weight.grad, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(long.bias.grad, plain.bias.grad, rtol=1e-4, atol=1e-3)


def test_the_compact_net_is_ten_times_smaller_and_looks_every_8_ms():
    net = CompactNet()
    assert count(net) * 10 < count(KanResWideX())
    with torch.inference_mode():
        assert net.blocks(net.stem(torch.zeros(1, 8, 600))).shape[2] == 150


def test_shipped_models_say_what_they_take_and_on_whom_they_were_trained(measures, sex_net, ptbxl):
    assert measures.spec.targets == wb.TARGETS
    assert measures.spec.units == ("ms", "ms", "ms", "bpm", "µV", "µV", "µV")
    assert sex_net.spec.link == "logit"
    _, test = wb.split_patients(ptbxl)
    assert not set(sex_net.spec.trained_on["ptbxl500"]) & set(test["patient"].values)


def test_a_stored_model_comes_back_the_same(tiny, tmp_path):
    net = CompactNet(n_outputs=2, width=16)
    spec = wb.ModelSpec(
        targets=("qt", "hr"), units=("ms", "bpm"), layer="blocks", net={"name": "compact", "n_outputs": 2, "width": 16}
    )
    wb.save_model(wb.wrap_model(net, spec), tmp_path / "m.safetensors")
    again = wb.load_model(tmp_path / "m.safetensors")
    assert again.spec == spec
    assert not again.training
    x = torch.randn(3, 8, 600)
    torch.testing.assert_close(again(x), net.eval()(x))
    wb.save_model(tiny, tmp_path / "foreign.safetensors")
    with pytest.raises(ModelError, match="not part of ecgwb"):
        wb.load_model(tmp_path / "foreign.safetensors")
    assert wb.load_model(tmp_path / "foreign.safetensors", module=TinyNet()).spec == tiny.spec


class Evil:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


def test_a_pickle_is_refused_whatever_its_ending(tmp_path):
    for name in ("m.pt", "m.safetensors"):
        torch.save(Evil(), tmp_path / name)
        with pytest.raises(ModelError, match=r"is refused.*runs code when opened"):
            wb.load_model(tmp_path / name)


def test_a_checkpoint_of_tensors_alone_is_opened_with_a_spec(tiny, tmp_path, ludb):
    for kept in (tiny.state_dict(), {"state_dict": tiny.state_dict(), "epoch": 3}):
        torch.save(kept, tmp_path / "m.pt")
        again = wb.load_model(tmp_path / "m.pt", TinyNet(), tiny.spec)
        np.testing.assert_array_equal(wb.predict(again, ludb)["a"], wb.predict(tiny, ludb)["a"])
    with pytest.raises(ModelError, match="carries no ModelSpec"):
        wb.load_model(tmp_path / "m.pt", TinyNet())
    torch.save([1, 2], tmp_path / "m.pt")
    with pytest.raises(ModelError, match="holds list; expected a state dict"):
        wb.load_model(tmp_path / "m.pt", TinyNet(), tiny.spec)


def test_weights_without_a_spec_are_refused_with_one_to_fill_in(tmp_path):
    save_file({"w": torch.zeros(1)}, str(tmp_path / "m.safetensors"))
    with pytest.raises(ModelError, match=r"wb.ModelSpec\(input="):
        wb.load_model(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"targets": ("qt",), "units": ("ms",)}, "n_outputs=2, but spec.targets names 1"),
        ({"leads": ("I", "II")}, "n_leads=8, but spec.leads names 2"),
        ({"net": {"name": "compact", "n_outputs": 2, "width": 32}}, "is .* in the file and .* in the network"),
        ({"net": {"name": "kanres", "n_outputs": 2}}, "is not in the file and"),
        ({"layer": "features"}, "no layer 'features'"),
    ],
)
def test_a_file_whose_spec_disagrees_with_its_weights_is_refused_by_name(tmp_path, change, said):
    net = {"name": "compact", "n_leads": 8, "n_outputs": 2, "width": 16}
    model = CompactNet(n_outputs=2, width=16)
    spec = wb.ModelSpec(targets=("qt", "hr"), units=("ms", "bpm"), layer="blocks", net=net)
    wb.wrap_model(model, spec)
    model.spec = replace(spec, **change)
    wb.save_model(model, tmp_path / "m.safetensors")
    with pytest.raises(ModelError, match=said):
        wb.load_model(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"targets": ("a",), "layer": "features"}, r"gives \(1, 2\), its spec names 1"),
        ({"targets": ("a", "b"), "layer": "blocks"}, "no layer 'blocks'; it has features"),
        ({"targets": ("a", "b"), "leads": ("I",), "layer": "features"}, "refuses what its spec promises"),
        ({"targets": ("a", "b"), "input": "strip"}, "expected 'beat' or 'rhythm'"),
        ({"targets": ("a", "b"), "units": ("ms",)}, "1 units for 2 targets"),
    ],
)
def test_a_spec_that_disagrees_is_refused_by_name(spec, said):
    with pytest.raises(ModelError, match=said):
        wb.wrap_model(TinyNet(), wb.ModelSpec(**spec))


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
    said = wb.predict(measures, some)
    assert np.isnan(said["pr"].values).tolist() == [False, True, False, True]
    assert wb.excluded(said)["record"].tolist() == some["record"].values[[1, 3]].tolist()


def test_leads_are_picked_ordered_and_scaled_as_the_spec_says(ludb):
    class First(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Identity()

        def forward(self, x):  # the first lead's value at time zero
            return self.conv(x)[:, :1, 125]

    spec = wb.ModelSpec(leads=("V3", "I"), fs=250, n_samples=300, scale=0.001, targets=("v",), layer="conv")
    said = wb.predict(wb.wrap_model(First(), spec), ludb)["v"]
    expected = ludb["beat"].sel(lead="V3", time=0.0) / 1000
    # Halving the rate takes what lies above 125 Hz off the R peak (most of a pacing spike), no more.
    assert float(np.abs(said - expected).median()) < 0.02
    assert np.corrcoef(said, expected)[0, 1] > 0.998


def test_a_cohort_that_lacks_something_is_refused_by_name(tiny, ludb):
    with pytest.raises(wb.RecordError, match="other leads than I, II, V1"):
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
    _, test = wb.split_patients(ptbxl)
    said = wb.predict(sex_net, ptbxl)
    assert set(said["record"].values[~said["seen"].values]) == set(test["record"].values)
    with pytest.warns(UserWarning, match="patients whose data shaped the network"):
        wb.accuracy_table(said, ptbxl)
    wb.accuracy_table(said.isel(record=~said["seen"].values), ptbxl)  # no warning, which would be an error here
    assert not wb.predict(sex_net, ludb)["seen"].any()


def test_sex_is_given_as_log_odds_with_its_probability(sex_net, ludb):
    said = wb.predict(sex_net, ludb)
    assert said["male"].attrs["units"] == "log-odds"
    np.testing.assert_allclose(said["male_probability"], 1 / (1 + np.exp(-said["male"])))


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


def test_out_of_fold_predictions_stand_in_for_those_of_patients_seen(tiny, ludb):
    some = ludb.isel(record=slice(6))
    records = [str(r) for r in some["record"].values]
    patients = some["patient"].values.astype(str).tolist()
    spec = replace(tiny.spec, trained_on={"ludb": patients[:2]}, out_of_fold={"ludb": {records[0]: [1.0, 2.0]}})
    model = wb.wrap_model(tiny, spec)
    plain = wb.predict(model, some)
    assert plain["seen"].values.tolist() == [True, True, False, False, False, False]
    with pytest.raises(ModelError, match=f"patient of record '{records[1]}'"):
        wb.predict(model, some, out_of_fold=True)
    here = some.isel(record=[0, 2, 3])
    said = wb.predict(model, here, out_of_fold=True)
    assert said["a"].values[0] == 1.0
    assert said["b"].values[0] == 2.0
    assert not said["seen"].any()
    np.testing.assert_allclose(said["a"].values[1:], plain["a"].values[2:4])


def test_a_cohort_without_patients_is_predicted_and_nobody_called_seen(tiny, ludb):
    said = wb.predict(tiny, ludb.isel(record=slice(3)).drop_vars("patient"))
    assert "seen" not in said.coords
    assert np.isfinite(said["a"]).all()


def test_the_same_people_under_another_source_are_seen_too(sex_net, ptbxl):
    elsewhere = ptbxl.isel(record=slice(40)).assign_attrs(source="ptbxl")
    expected = wb.predict(sex_net, ptbxl.isel(record=slice(40)))["seen"]
    np.testing.assert_array_equal(wb.predict(sex_net, elsewhere)["seen"], expected)
    with pytest.raises(ModelError, match="no out-of-fold prediction"):
        wb.predict(sex_net, elsewhere, out_of_fold=True)


def test_other_peoples_records_of_the_same_name_are_refused(measures, ludb, ptbxl):
    said = wb.predict(measures, ludb)
    with pytest.raises(ValueError, match="record '1' is patient 'ludb-1' in the values and 'ptbxl-"):
        wb.accuracy_table(said, ptbxl)
    with pytest.raises(ValueError, match="give the cohort that the values come from"):
        wb.align(wb.ecgradcam(measures, ludb, "qt"), ptbxl)


def test_beats_in_millivolts_are_refused(measures, ludb):
    some = ludb.isel(record=slice(5)).copy()
    some["beat"] = some["beat"] / 1000
    with pytest.raises(ModelError, match="Signals in mV are to be multiplied by 1000"):
        wb.predict(measures, some)


def test_edited_beats_are_no_rhythms():
    cohort = wb.open_cohort("ludb", rhythm=True).isel(record=slice(3))
    net = wb.load_model("compact-rhythm")
    for edited in (wb.edits.blank(cohort, "T"), wb.edits.stretch(cohort, "QT", 20), wb.edits.scale(cohort, "T", 0.8)):
        with pytest.raises(ModelError, match="takes rhythms and the cohort has none"):
            wb.predict(net, edited)


def test_slips_are_named(measures, ludb):
    with pytest.raises(ModelError, match="load the network first"):
        wb.predict("compact-measures", ludb)
    for call in (wb.ecgradcam, lambda m, c: wb.attribute(m, c, "saliency")):
        with pytest.raises(ValueError, match="has no dimension 'record'"):
            call(measures, ludb.isel(record=0))
    assert wb.ModelSpec(targets="qt", units="ms", layer="x").targets == ("qt",)
    one = ludb.isel(record=[0])
    np.testing.assert_array_equal(wb.attribute(measures, one, "guided"), wb.ecgradcam(measures, one, variant="guided"))


def test_thirds_of_any_column_are_thirds(ludb, measures):
    said = wb.predict(measures, ludb)
    small = wb.accuracy_table(said, ludb.assign(level=("record", np.arange(200) * 1e-5)), by="level")
    assert small["n"].unstack()["qt"].tolist() == pytest.approx([200 / 3] * 3, abs=1)
    two = ludb.assign(tall=("record", np.arange(200) % 2 == 0))
    assert wb.accuracy_table(said, two, by="tall")["n"].unstack()["qt"].tolist() == [100, 100]
    with pytest.raises(wb.RecordError, match="no value of 'level' is known"):
        wb.accuracy_table(said, ludb.assign(level=("record", np.full(200, np.nan))), by="level")
