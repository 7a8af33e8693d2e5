import numpy as np
import pytest
import torch
from conftest import TYPICAL, TinyNet, made_cohort

import ecgwb as wb
from ecgwb.cohorts.measurements import TIME
from ecgwb.models.training import centre

SMALL = {"name": "compact", "width": 16, "dilations": (1, 2)}


@pytest.fixture(scope="module")
def simple():
    """Beats whose only content is an R wave of the height to be learnt; every fifth patient has two records."""
    rng = np.random.default_rng(0)
    height = rng.uniform(500, 2000, 120)
    beat = height[:, None, None] * np.exp(-((TIME / 15.0) ** 2)) * np.ones((1, 8, 1)) + rng.normal(0, 5, (120, 8, 600))
    cohort = made_cohort(np.tile(TYPICAL, (120, 1)), beat, [f"p{i - (i % 5 == 4)}" for i in range(120)])
    cohort["r_v5"] = ("record", height, {"units": "µV"})
    cohort["big"] = ("record", (height > 1250).astype(float), {"units": ""})
    return cohort


def test_fit_learns_a_number_in_its_own_unit(simple):
    model = wb.fit(simple, "r_v5", SMALL, epochs=50, batch=16, seed=1, progress=False)
    predictions = wb.predict(model, simple)["r_v5"]
    assert float(np.abs(predictions - simple["r_v5"]).mean()) < 60
    assert model.spec.units == ("µV",)
    maps = wb.ecgradcam(model, simple)
    np.testing.assert_allclose(maps.mean("time")[:, 0] + float(maps["bias"][0]), predictions, rtol=1e-3)


def test_fit_takes_a_column_that_the_cohort_carries_along(simple):
    cohort = simple.assign_coords(age=("record", simple["r_v5"].values / 25))
    model = wb.fit(cohort, "age", SMALL, epochs=2, progress=False)
    with pytest.warns(UserWarning, match="shaped the network"):
        assert wb.accuracy_table(wb.predict(model, cohort), cohort).loc["age", "n"] == 120


def test_fit_learns_a_binary_column_as_log_odds(simple):
    model = wb.fit(simple, "big", SMALL, epochs=50, batch=16, seed=1, progress=False)
    assert model.spec.link == "logit"
    assert float(((wb.predict(model, simple)["big"] > 0) == (simple["big"] > 0)).mean()) > 0.95


def test_the_same_seed_gives_the_same_network_and_a_resumed_one_is_the_uninterrupted_one(simple, tmp_path, monkeypatch):
    whole = wb.fit(simple, "r_v5", SMALL, epochs=6, seed=3, progress=False)
    again = wb.fit(simple, "r_v5", SMALL, epochs=6, seed=3, progress=False)
    real, calls = torch.save, []

    def dies(*a, **k):
        real(*a, **k)
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", dies)
    with pytest.raises(KeyboardInterrupt):
        wb.fit(simple, "r_v5", SMALL, epochs=6, seed=3, progress=False, checkpoint=tmp_path / "c.pt")
    monkeypatch.setattr(torch, "save", real)
    resumed = wb.fit(simple, "r_v5", SMALL, epochs=6, seed=3, progress=False, checkpoint=tmp_path / "c.pt")
    for k, v in whole.state_dict().items():
        assert torch.equal(v, again.state_dict()[k])
        assert torch.equal(v, resumed.state_dict()[k])
    other = wb.fit(simple, "r_v5", SMALL, epochs=6, seed=4, progress=False)
    assert not torch.equal(other.head.weight, whole.head.weight)


def test_rhythms_are_learnt_from_as_well(tmp_path):
    ludb = wb.open_cohort("ludb", rhythm=True).isel(record=slice(30))
    model = wb.fit(ludb, ["hr", "qt"], SMALL, input="rhythm", epochs=2, progress=False)
    assert (model.spec.input, model.spec.n_samples) == ("rhythm", 5000)
    wb.save_model(model, tmp_path / "m.safetensors")
    predictions = wb.predict(wb.load_model(tmp_path / "m.safetensors"), ludb)
    assert np.isfinite(predictions["hr"]).all()
    with pytest.raises(ValueError, match="no rhythm"):
        wb.fit(wb.open_cohort("ludb"), "hr", SMALL, input="rhythm", progress=False)


def test_several_cohorts_are_drawn_equally_and_the_first_validates(simple):
    other = simple.isel(record=slice(40)).assign_coords(patient=("record", [f"q{i}" for i in range(40)]))
    other.attrs["source"] = "other"
    model = wb.fit([simple, other], "r_v5", SMALL, epochs=2, epoch=64, progress=False)
    assert {k: len(v) for k, v in model.spec.trained_on.items()} == {"cohort": 96, "other": 40}
    with pytest.raises(ValueError, match="other leads than"):
        wb.fit([simple, other.isel(lead=slice(4))], "r_v5", SMALL, progress=False)


def test_a_checkpoint_of_another_task_is_refused(simple, tmp_path):
    wb.fit(simple, "r_v5", SMALL, epochs=1, progress=False, checkpoint=tmp_path / "c.pt")
    for change in ({"targets": "big"}, {"epochs": 2}, {"seed": 9}):
        arguments = {"targets": "r_v5", "epochs": 1, "seed": 0} | change
        with pytest.raises(ValueError, match="belongs to another training"):
            wb.fit(simple, net=SMALL, progress=False, checkpoint=tmp_path / "c.pt", **arguments)
    other = simple.assign(r_v5=simple["r_v5"].copy(data=simple["r_v5"].values[::-1]))
    with pytest.raises(ValueError, match="belongs to another training"):
        wb.fit(other, "r_v5", SMALL, epochs=1, progress=False, checkpoint=tmp_path / "c.pt")
    (tmp_path / "text.pt").write_text("no checkpoint")
    with pytest.raises(ValueError, match="is no checkpoint of fit"):
        wb.fit(simple, "r_v5", SMALL, epochs=1, progress=False, checkpoint=tmp_path / "text.pt")


def test_training_leaves_torchs_own_stream_as_it_was(simple):
    before = torch.get_rng_state()
    wb.fit(simple, "r_v5", SMALL, epochs=1, progress=False)
    assert torch.equal(before, torch.get_rng_state())


def test_units_that_differ_and_shares_that_are_none_are_refused(simple):
    in_mv = simple.assign(r_v5=(simple["r_v5"] / 1000).assign_attrs(units="mV"))
    with pytest.raises(ValueError, match="target 'r_v5' is in mV and in µV"):
        wb.fit([simple.assign(r_v5=simple["r_v5"].assign_attrs(units="µV")), in_mv], "r_v5", SMALL, progress=False)
    with pytest.raises(ValueError, match="expected a share of patients between 0 and 1"):
        wb.fit(simple, "r_v5", SMALL, validation=15, progress=False)
    with pytest.raises(ValueError, match="each is to be named once"):
        wb.fit(simple, ["r_v5", "r_v5"], SMALL, progress=False)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ("patient", "holds text"),
        ("weight", "no number per record called weight; it has"),
        ("flat", "fewer than two different values"),
        (["big", "r_v5"], "a network each"),
    ],
)
def test_what_cannot_be_learnt_is_refused(simple, targets, message):
    cohort = simple.assign(flat=("record", np.ones(120)))
    with pytest.raises(ValueError, match=message):
        wb.fit(cohort, targets, SMALL, progress=False)
    with pytest.raises(ValueError, match="at least 10"):
        wb.fit(simple.isel(record=slice(6)), "r_v5", SMALL, progress=False)


def test_a_cohort_of_others_chooses_the_epoch(simple):
    learn, choose = simple.isel(record=slice(40)), simple.isel(record=slice(40, None))
    model = wb.fit(learn, "r_v5", SMALL, epochs=2, validation=choose, progress=False)
    assert len(model.history) == 2
    named = set(wb.cohorts.patients_of(simple).tolist())
    assert set(model.spec.trained_on[str(simple.attrs.get("source", "cohort"))]) == named
    with pytest.raises(ValueError, match="'p38' is among those to train on and those to validate on"):
        wb.fit(learn, "r_v5", SMALL, validation=simple.isel(record=slice(39, None)), progress=False)


def test_folds_part_people_who_are_not_named(simple):
    fold = 1 + np.arange(120) // 60
    unnamed = simple.assign_coords(patient=("record", [""] * 120), fold=("record", fold)).assign_attrs(folds="ptbxl")
    first, second = (unnamed.isel(record=fold == k) for k in (1, 2))
    model = wb.fit(first, "r_v5", SMALL, epochs=1, validation=second, progress=False)
    assert list(model.spec.trained_on.values()) == [["ptbxl fold 1", "ptbxl fold 2"]]
    again = unnamed.isel(record=slice(60, None)).assign_coords(fold=("record", np.tile([1, 2], 30)))
    with pytest.raises(ValueError, match="'ptbxl fold 1' is among those to train on"):
        wb.fit(first, "r_v5", SMALL, validation=again, progress=False)
    with pytest.raises(ValueError, match="does not name its patients"):
        wb.fit(first, "r_v5", SMALL, progress=False)


def test_a_number_known_of_many_is_centred_and_one_of_few_is_not():
    net = TinyNet(2)
    x = np.random.default_rng(0).normal(scale=300, size=(150, 8, 600)).astype(np.float32)
    with torch.inference_mode():
        y = net(torch.from_numpy(x)).double().numpy() + np.array([7.0, 5.0])
    y[40:, 1] = np.nan
    before = net.head.bias.detach().clone()
    centre(net, x, y)
    np.testing.assert_allclose((net.head.bias - before).detach(), [7.0, 0.0], atol=1e-4)


def test_labels_that_training_or_validation_can_make_nothing_of_are_refused(simple):
    n = simple.sizes["record"]
    first, again = simple.isel(record=slice(0, n // 2)), simple.isel(record=slice(n // 2, n))
    unknown = again.assign(r_v5=again["r_v5"].copy(data=np.full(again.sizes["record"], np.nan)))
    with pytest.raises(ValueError, match="no record to validate on has target 'r_v5'"):
        wb.fit(first, "r_v5", SMALL, validation=unknown, progress=False)
    one = first.assign(r_v5=first["r_v5"].copy(data=np.full(first.sizes["record"], 5.0)))
    with pytest.raises(ValueError, match="fewer than two different values in the"):
        wb.fit(one, "r_v5", SMALL, validation=again, progress=False)
    named = first.assign(age=("record", np.arange(first.sizes["record"], dtype=float)))
    with pytest.raises(ValueError, match="gain changes voltages, and with them 'r_v5'"):
        wb.fit(named, ["age", "r_v5"], SMALL, gain=0.1, progress=False)
    with pytest.raises(ValueError, match=r"gain is '0\.1'"):
        wb.fit(first, "r_v5", SMALL, gain="0.1", progress=False)
