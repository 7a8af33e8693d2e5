import numpy as np
import pytest
from studies.plants import LABEL, planted_cohort

import ecgwb as wb
from ecgwb.discovery.readers import NetworkReader, Place, PooledNet, PooledReader
from ecgwb.discovery.scan import halves
from ecgwb.edits.edit_maps import joint_effects
from ecgwb.stats import auc


@pytest.fixture(scope="module")
def net():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 12))
    x[rng.random(x.shape) < 0.02] = np.nan
    y = np.nan_to_num(x[:, 2] + 2 * x[:, 3] * x[:, 7] + x[:, 5] ** 2) + rng.normal(size=500)
    return PooledNet.fit(x, y), x, y


def test_squares_and_products_are_learnt(net):
    model, x, y = net
    assert np.corrcoef(model.output(x), y)[0, 1] > 0.75
    largest = np.unravel_index(np.abs(model.m).argmax(), model.m.shape)
    assert sorted(largest) in ([3, 7], [5, 5])
    np.testing.assert_allclose(model.m, model.m.T)


def test_an_effect_is_the_output_less_that_at_the_mean_and_interplay_what_is_beyond_the_sum(net):
    model, x, _ = net

    def without(*at):
        changed = x.copy()
        changed[:, list(at)] = model.centre[list(at)]
        return model.output(changed)

    np.testing.assert_allclose(model.effect(x, [3, 5]), model.output(x) - without(3, 5), atol=1e-9)
    expected = model.output(x) - without(3, 4) - without(7) + without(3, 4, 7)
    np.testing.assert_allclose(model.interplay(x, [3, 4], [7]), expected, atol=1e-9)


def test_people_are_answered_for_by_a_network_without_them(people):
    cohort = planted_cohort(people.isel(record=slice(300)), "V2 x V5", 0.7, 0)[0]
    y = cohort[LABEL].values - 0.5
    reader = PooledReader(cohort, y)
    before = reader.output(cohort, out_of_fold=True)
    wild = y.copy()
    wild[0] = 1000.0
    after = PooledReader(cohort, wild).output(cohort, out_of_fold=True)
    same = np.isclose(before, after)
    assert same[0]  # its own outcome does not reach its own prediction
    assert 0.2 < same.mean() < 0.5  # nor that of the third that shares its network
    assert auc(cohort[LABEL].values, reader.output(cohort))[0] > auc(cohort[LABEL].values, before)[0]


def test_places_are_segments_and_their_halves(people):
    cohort = planted_cohort(people.isel(record=slice(200)), "nothing", 0.0, 0)[0]
    reader = PooledReader(cohort, cohort[LABEL].values)
    assert len(reader.places) == 8 * 5 * 3
    k = reader.places.index(Place("V2", "QRS"))
    levels, features = halves(cohort)
    at = [i for i, f in enumerate(features) if f.lead == "V2" and f.points[0].first in ("QRS_on", "R")]
    np.testing.assert_allclose(reader.effects(cohort)[:, k], reader._nets[-1].effect(levels, at))
    assert Place("V2", "QRS", "first").words == "V2 first half of QRS"


def test_a_network_is_asked_without_leads_segments(sex_net, people):
    few = people.isel(record=slice(30))
    reader = NetworkReader(sex_net, "male", few)
    assert reader.places[5] == Place("II", "P")
    effects = reader.effects(few)
    assert effects.shape == (30, 40)
    kept = np.ones((1, 8 * 7), bool)
    kept[0, 3 * 7 + 3] = False  # lead V2, QRS: the fourth of seven pieces
    expected = joint_effects(sex_net, few, kept, "male", by_lead=True, among=few)[:, 0, 0]
    k = reader.places.index(Place("V2", "QRS"))
    np.testing.assert_allclose(effects[:, k], expected, atol=1e-5)
    other = reader.places.index(Place("V5", "T"))
    kept[0, 6 * 7 + 5] = False
    both = joint_effects(sex_net, few, kept, "male", by_lead=True, among=few)[:, 0, 0]
    interplay = reader.interplay(few, [(k, other)])[:, 0]
    np.testing.assert_allclose(interplay, effects[:, k] + effects[:, other] - both, atol=1e-5)


def test_a_place_of_all_leads_is_the_piece_of_all_leads(sex_net, people):
    few = people.isel(record=slice(20))
    whole = joint_effects(sex_net, few, np.arange(7)[None] != 3, "male")
    by_lead = joint_effects(sex_net, few, np.tile(np.arange(7) != 3, 8)[None], "male", by_lead=True)
    np.testing.assert_allclose(whole, by_lead, atol=1e-5)
    with pytest.raises(ValueError, match=r"expected bool \(edit, 56\), .*: before, .* lead by lead"):
        joint_effects(sex_net, few, np.ones((1, 7), bool), "male", by_lead=True)


def test_a_network_without_the_target_is_refused(sex_net, people):
    with pytest.raises(wb.ModelError, match="the network predicts male; expected 'age' among them"):
        NetworkReader(sex_net, "age", people)


def test_a_network_answers_out_of_fold_as_predict_does(sex_net):
    cohort = wb.open_cohort("ptbxl").isel(record=slice(60)).load()
    reader = NetworkReader(sex_net, "male", cohort)
    expected = wb.predict(sex_net, cohort, out_of_fold=True)["male"].values
    np.testing.assert_allclose(reader.output(cohort, out_of_fold=True), expected)
    effects = reader.effects(cohort, out_of_fold=True)
    assert effects.shape == (60, 40)
    assert np.isfinite(effects).mean() > 0.9
