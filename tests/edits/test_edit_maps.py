"""Edit maps on networks whose answer is known."""

import numpy as np
import pytest
import torch
from known_nets import Ignores, Linear, Product, QtByConstruction, reads, wrapped

import ecgwb as wb
from ecgwb.attention.alignment import REFERENCES
from ecgwb.cohorts.measurements import TIME
from ecgwb.edits.edit_maps import METHODS, piece_edges, piece_weights

SEVEN = ["before", "P", "PQ", "QRS", "ST", "T", "after"]


@pytest.fixture(scope="module")
def people(ludb):
    return ludb.isel(record=slice(0, 40))


@pytest.fixture(scope="module")
def linear():
    return wrapped(Linear(np.random.default_rng(0).normal(size=(2, 8, 600)) / 1000), ("a", "b"))


def test_pieces_part_every_beat_and_a_wave_that_is_absent_has_no_length(people):
    for pieces, n in (("segments", 7), ("halves", 12)):
        edges = piece_edges(people, pieces)
        weights = piece_weights(edges, TIME)
        assert weights.shape == (40, n, 600)
        np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
        assert (weights >= 0).all()
        assert (np.diff(edges, axis=1) >= 0).all()
    no_p = np.flatnonzero(people["fiducial"].sel(landmark="P_on").isnull())
    assert len(no_p)
    weights = piece_weights(piece_edges(people), TIME)
    assert not weights[no_p][:, [1, 2]].any()
    with pytest.raises(ValueError, match="expected 'segments' or 'halves'"):
        piece_edges(people, "thirds")


def test_the_reference_beat_is_one_for_all_or_keeps_everyones_own_time(people):
    mean = wb.align(people["beat"], people).mean("record")
    common = wb.attention.reference_beats(people)
    np.testing.assert_allclose(common.values, np.broadcast_to(mean.values, common.shape), atol=1e-3)
    own = wb.attention.reference_beats(people, "own time")
    back = wb.align(own, people)
    template = wb.attention.template_of(people)
    within = (back["phase"] > float(template.sel(landmark="P_on"))) & (
        back["phase"] < float(template.sel(landmark="T_off"))
    )
    whole = np.isfinite(people["fiducial"]).all("landmark").values
    away = abs(back - mean).isel(record=whole, phase=within.values)
    assert float(away.mean()) < 2  # µV: interpolated twice
    assert float(abs(own - common).mean()) > 5
    with pytest.raises(ValueError, match="'common' or 'own time'"):
        wb.attention.reference_beats(people, "mine")


@pytest.mark.parametrize("method", METHODS)
def test_of_a_linear_network_every_method_gives_the_piece_times_its_weights(linear, people, method):
    effects = wb.edits.piece_effects(linear, people, pieces="segments", method=method)
    assert effects.dims == ("record", "target", "piece")
    assert list(effects["piece"].values) == SEVEN
    away = people["beat"].values - wb.attention.reference_beats(people).values
    weights = piece_weights(piece_edges(people), TIME)
    head = linear.head.weight.detach().numpy().reshape(2, 8, 600)
    expected = np.einsum("nls,nps,tls->ntp", away, weights, head)
    known = np.isfinite(effects.values)
    np.testing.assert_array_equal(known, np.broadcast_to(weights.any(axis=2)[:, None], known.shape))
    # A ridge draws "joint" towards none by what half an edit of sixty-four weighs.
    np.testing.assert_allclose(
        effects.values[known], expected[known], rtol=0.1 if method == "joint" else 1e-3, atol=0.02
    )
    if method != "alone":
        assert (effects["additivity"] > 0.99).all()


def test_shapley_values_add_up_to_the_prediction(measures, people):
    few = people.isel(record=slice(0, 12))
    predicted = wb.predict(measures, few)
    for pieces in ("segments", "halves"):
        maps = wb.edits.edit_map(measures, few, pieces=pieces, method="shapley")
        assert maps.attrs["adds_up"] == "sum"
        for t in measures.spec.targets:
            total = maps.sel(target=t).sum("time") + maps["bias"].sel(target=t)
            np.testing.assert_allclose(total, predicted[t], rtol=1e-3, atol=0.1)
    two = few.isel(record=slice(2))
    by_lead = wb.edits.edit_map(measures, two, "qt", by_lead=True, method="shapley", n_edits=1, among=few)
    assert by_lead.dims == ("record", "target", "lead", "time")
    total = by_lead.sum(["lead", "time"]) + by_lead["bias"]
    np.testing.assert_allclose(total.sel(target="qt"), wb.predict(measures, two)["qt"], atol=0.2)


def test_one_beat_is_compared_with_those_of_others(measures, people):
    one = people.isel(record=[5])
    with pytest.raises(ValueError, match="1 records make no common beat; give a cohort of at least 10: among=cohort"):
        wb.edit_map(measures, one)
    for reference in REFERENCES:
        alone = wb.edit_map(measures, one, "qt", reference=reference, among=people)
        together = wb.edit_map(measures, people, "qt", reference=reference)
        np.testing.assert_allclose(alone[0], together[5], atol=1e-3)
        assert float(abs(alone).sum()) > 1  # ms
    baselines = [wb.attribute(measures, one, "deeplift", "qt", baseline=b, among=people) for b in ("mean", *REFERENCES)]
    assert all(float(abs(m).sum()) > 1 for m in baselines)


def test_edit_maps_are_maps_to_everything_else(measures, people):
    maps = wb.edits.edit_map(measures, people, ["qt", "pr"])
    aligned = wb.align(maps, people)
    mean = wb.cohort_map(aligned, by="sex")
    assert set(mean["sex"].values) == {"female", "male"}
    shares = wb.segment_table(aligned)["share"]
    assert shares["pr"].idxmax() == "P"
    assert shares["qt"].drop("rest").idxmax() == "T"


def test_a_network_that_reads_nothing_has_an_empty_map(people):
    for method in METHODS:
        effects = wb.edits.piece_effects(wrapped(Ignores(2), ("a", "b")), people, method=method)
        assert np.nanmax(np.abs(effects)) < 1e-6


def test_one_lead_and_one_moment_are_named(people):
    effects = wb.edits.piece_effects(reads("V2", 0.0), people, by_lead=True, method="alone", pieces="segments")
    size = abs(effects).mean("record").sel(target="qt")
    assert float(size.sel(lead="V2", piece="QRS")) > 0.99 * float(size.sum())


def test_an_interplay_is_named(people):
    net = wrapped(Product(("V2", 0.0), ("V5", 300.0)), ("qt",))
    found = abs(wb.edits.interplay(net, people)).mean("record").sel(target="qt").to_pandas()
    assert found.stack().idxmax() in (("QRS", "T"), ("T", "QRS"))
    assert found.loc["QRS", "T"] > 5 * found.drop(index="QRS").drop(columns="QRS").max().max()
    assert np.nanmax(np.abs(wb.edits.interplay(reads("V5", 0.0), people))) < 1e-4 * 500


class LostAbove(Linear):
    """No number where the ECG is above so many µV anywhere."""

    def __init__(self, uv):
        super().__init__(np.random.default_rng(0).normal(size=(1, 8, 600)) / 1000)
        self.uv = uv

    def forward(self, x):
        return torch.where(x.abs().amax((1, 2))[:, None] > self.uv, torch.nan, super().forward(x))


def test_records_without_a_prediction_are_left_out_and_listed(people):
    tallest = np.sort(abs(people["beat"]).max(["lead", "time"]).values)
    net = wrapped(LostAbove(float(tallest[-3:-1].mean())), ("qt",))
    with pytest.warns(UserWarning, match="gives no finite number for 2 of 40 records"):
        maps = wb.edit_map(net, people)
    assert wb.excluded(maps)["reason"].str.contains("no finite number").tolist() == [True, True]
    assert int(np.isnan(maps).all(["target", "time"]).sum()) == 2
    assert maps["additivity"].item() > 0.99
    assert int(wb.cohort_map(wb.align(maps, people))["n"].max()) == 38
    with pytest.warns(UserWarning, match="2 of 40"):
        pairs = wb.edits.interplay(net, people)
    assert len(wb.excluded(pairs)) == 2


def test_why_a_record_is_left_out_is_said(measures, people):
    changed = people.copy(deep=True)
    changed["fiducial"].loc[{"landmark": "J", "record": changed["record"][3]}] = np.nan
    changed["beat"][4, 2, 100] = np.nan
    changed["fiducial"].loc[{"landmark": "P_peak", "record": changed["record"][5]}] = np.nan
    maps = wb.edit_map(measures, changed, "qt")
    reasons = wb.excluded(maps).set_index("record")["reason"].to_dict()
    third, fourth = people["record"].values[[3, 4]]
    assert reasons == {third: "no onset or no end of QRS", fourth: "missing samples, or no signal in any lead"}


def test_ten_records_that_can_be_used_make_a_common_beat(measures, people):
    few = people.isel(record=slice(12)).copy(deep=True)
    few["fiducial"][9:] = np.nan
    with pytest.raises(ValueError, match="9 usable records of 12 make no common beat"):
        wb.edit_map(measures, few)


def test_what_is_kept_is_asked_for_as_bool(measures, people):
    kept = np.ones((2, 7), bool)
    kept[:, 5] = False
    assert wb.edits.joint_effects(measures, people, kept, "qt").shape == (40, 1, 2)
    for odd in (kept.astype(int), kept[0], kept[:, :6], kept[:0]):
        with pytest.raises(ValueError, match=r"expected bool \(edit, 7\), True for the pieces that stay: before, P"):
            wb.edits.joint_effects(measures, people, odd)


def test_an_own_time_needs_landmarks(measures, people):
    changed = people.copy(deep=True)
    changed["fiducial"][3] = np.nan
    maps = wb.attribute(measures, changed, "deeplift", "qt", baseline="own time")
    assert np.isnan(maps[3]).all()
    assert len(wb.excluded(maps)) == 1


def test_a_profile_is_highest_where_the_network_reads(people):
    found = abs(wb.edits.edit_profile(reads("V5", 100.0), people)).mean("record").sel(target="qt")
    assert abs(float(found.idxmax("time")) - 100) <= 12
    assert float(found.sel(time=slice(140, None)).max()) == 0
    for odd in ({"step_ms": 50}, {"ms": 4, "step_ms": 2}, {"ms": 3000}):
        with pytest.raises(ValueError, match="step above 0 and no longer than the stretch, which is at least 8 ms"):
            wb.edits.edit_profile(reads("V5", 100.0), people, **odd)


def test_what_an_interval_is_made_of_is_named(people, ludb):
    net = wrapped(QtByConstruction(), ("qt",))
    assert np.corrcoef(wb.predict(net, ludb)["qt"], ludb["qt"])[0, 1] > 0.7
    effects = wb.edits.piece_effects(net, people, pieces="segments")
    size = abs(effects).mean("record").sel(target="qt").to_series()
    assert size.idxmax() == "T"
    assert size.drop("T").max() < size["T"] / 3
    assert size[["P", "QRS", "ST"]].idxmax() == "QRS"
    assert effects["additivity"].item() > 0.9
    # A beat with the record's own timing keeps its QT: half of what T does is its place.
    own_time = abs(wb.edits.piece_effects(net, people, pieces="segments", reference="own time")).mean("record")
    assert own_time.sel(target="qt", piece="T") < 0.75 * size["T"]
