"""Digitised printouts: 2.5 s a lead, lead II whole or not; and single gaps."""

import numpy as np
import pytest

import ecgwb as wb
from ecgwb.cohorts.precision import standard_errors
from ecgwb.cohorts.sources import unpack
from ecgwb.recordings.record import LEADS12, Record


@pytest.fixture(scope="module")
def recordings():
    folder = unpack("ptbxl500") / "records500" / "00000"
    return [wb.read_record(folder / f"{k:05d}_hr") for k in range(1, 41)]


def printout(record, strip=True, columns=4):
    signal = np.full(record.signal.shape, np.nan)
    rows, length = 12 // columns, 5000 // columns
    for i in range(12):
        part = slice(i // rows * length, (i // rows + 1) * length)
        signal[i, part] = record.signal[i, part]
    if strip:
        signal[1] = record.signal[1]
    return Record(signal, 500, LEADS12, str(int(record.record_id[:5])))


def differences(cohort, whole, name):
    d = (cohort[name] - whole[name]).values
    return d[np.isfinite(d)]


# How far 40 printouts are from their whole recordings: bias and SD. Measured are, with the strip, PR 1.1 ± 3.8,
# QRS 0.6 ± 1.8, QT -0.1 ± 4.0 ms, rate 0.0 ± 0.2, J 0 ± 14, R 8 ± 54, T -3 ± 65 µV (of 2 or 3 beats in V5, and
# once of another kind); without it PR 1.2 ± 5.1, QRS 0.8 ± 2.9, QT 0.4 ± 4.9 ms; 5 s a lead is as good as the former.
LIMITS = {
    "pr": (3, 6.5),
    "qrs": (2, 4),
    "qt": (3, 6.5),
    "hr": (0.7, 1.5),
    "j_v5": (8, 22),
    "r_v5": (25, 80),
    "t_v5": (25, 90),
}


@pytest.mark.parametrize(("strip", "columns", "lost"), [(True, 4, 0), (False, 4, 1), (False, 2, 0)])
def test_printouts_give_what_the_whole_recordings_give(recordings, ptbxl, strip, columns, lost):
    cohort = wb.build_cohort([printout(r, strip, columns) for r in recordings])
    left_out = wb.excluded(cohort)
    assert len(left_out) <= lost
    assert left_out["reason"].str.contains("is there from P to T .* in lead V4").all()
    whole = ptbxl.sel(record=cohort["record"])
    for name, (bias, sd) in LIMITS.items():
        d = differences(cohort, whole, name)
        assert len(d) >= 0.9 * np.isfinite(whole[name].values).sum(), name
        assert abs(d.mean()) < bias, name
        assert d.std() < sd, name
    errors, whole_errors = standard_errors(cohort), standard_errors(whole)
    for name in ("pr", "qrs", "qt"):
        larger = errors[name].values / whole_errors[name].values
        assert 1.2 < np.nanmedian(larger) < 3, name
        d = np.abs((cohort[name] - whole[name]).values) / errors[name].values
        assert np.mean(d[np.isfinite(d)] < 1) > 0.68, name  # the whole recording is not the truth, but no further off
    assert np.isfinite(cohort["beat"].values).all()
    n = cohort["lead_beats"].values
    np.testing.assert_array_equal(cohort["n_beats"].values, n.min(axis=1))
    if strip:
        assert (n[:, 1] > n[:, 2:].max(axis=1)).all()
        assert all("few beats in some leads: " in f for f in cohort["flags"].values)
        assert (np.abs(cohort["n_beats_found"] - whole["n_beats_found"]) <= 1).mean() > 0.9


def test_of_a_printout_lead_i_is_also_computed_from_avl_and_ii(recordings):
    with_augmented = wb.representative_beat(printout(recordings[2]))
    eight = [LEADS12.index(lead) for lead in wb.LEADS]
    without = wb.representative_beat(Record(printout(recordings[2]).signal[eight], 500, wb.LEADS))
    more, less = (int(b["lead_beats"].sel(lead="I")) for b in (with_augmented, without))
    assert more >= less + 2
    own, other = (b["beat"].sel(lead="I", time=slice(-250, 400)).values for b in (with_augmented, without))
    assert np.corrcoef(own, other)[0, 1] > 0.97


def test_a_printout_with_zeros_where_no_lead_is_drawn_is_one_with_gaps(recordings):
    given = printout(recordings[0])
    zeros = Record(np.nan_to_num(given.signal), 500, LEADS12)
    a, b = (wb.representative_beat(r) for r in (given, zeros))
    np.testing.assert_allclose(a["beat"], b["beat"], atol=2)  # µV: a zero at a column's edge is one sample more missing
    np.testing.assert_allclose(a["fiducial"], b["fiducial"], atol=4)


def test_networks_on_recordings_leave_printouts_out_and_those_on_beats_take_them(recordings, measures):
    cohort = wb.build_cohort([printout(recordings[0]), recordings[1]])
    assert np.isfinite(wb.predict(measures, cohort).to_array().values).all()
    predictions = wb.predict(wb.load_model("compact-rhythm"), cohort)
    assert np.isnan(predictions.to_array().values[:, 0]).all()
    assert np.isfinite(predictions.to_array().values[:, 1]).all()
    assert wb.excluded(predictions)["record"].tolist() == [str(cohort["record"].values[0])]


def test_a_gap_costs_its_lead_a_beat_and_the_others_none(recordings):
    clean = wb.representative_beat(recordings[9])
    r = clean["cycle_fiducial"].sel(landmark="R").values[clean["cycle_used"].values == 1]
    signal = recordings[9].signal.copy()
    signal[6, np.abs(recordings[9].time_ms - r[len(r) // 2]) < 25] = np.nan  # V1
    holed = wb.representative_beat(Record(signal, 500, LEADS12))
    np.testing.assert_array_equal(holed["cycle_used"], clean["cycle_used"])
    others = [lead for lead in wb.LEADS if lead != "V1"]
    np.testing.assert_array_equal(holed["lead_beats"].sel(lead=others), clean["lead_beats"].sel(lead=others))
    assert 1 <= int(clean["lead_beats"].sel(lead="V1") - holed["lead_beats"].sel(lead="V1")) <= 3
    a, b = (x["beat"].sel(lead=others, time=slice(-300, 450)).values.ravel() for x in (holed, clean))
    assert np.corrcoef(a, b)[0, 1] > 0.99  # time zero, from the leads that are whole, may be a sample further
    assert float(holed["qt"]) == pytest.approx(float(clean["qt"]), abs=4)


@pytest.mark.filterwarnings("ignore:1 recording is there more than once")  # the three are one
def test_missing_samples_are_bridged_and_flagged(recordings):
    signal = recordings[9].signal.copy()
    signal[np.random.default_rng(0).random(signal.shape) < 0.01] = np.nan
    one = recordings[9].signal.copy()
    one[6, 250::500] = np.nan
    cohort = wb.build_cohort([Record(signal, 500, LEADS12, "1 %"), Record(one, 500, LEADS12, "V1"), recordings[9]])
    everywhere, single, none = cohort["flags"].values
    assert "gaps of up to 20 ms are bridged in every lead (1." in everywhere
    assert "gaps of up to 20 ms are bridged in V1 (0.20% of it)" in single
    assert "bridged" not in none
    for name, limit in {"pr": 6, "qrs": 4, "qt": 6, "hr": 0.5, "r_v5": 15}.items():
        x = cohort[name].values
        assert np.abs(x - x[2]).max() < limit, name
    np.testing.assert_array_equal(cohort["n_beats"], cohort["n_beats"][2])


@pytest.mark.parametrize(
    ("rows", "part", "message"),
    [
        ([8], slice(None), r"lead V3 is empty or flat .* Missing, and missing or flat: V3 100% and 100%"),
        ([8, 9], slice(0, 4500), r"lead V3, V4 is empty .* each for 1.5 s or longer.*V3 90% and 90%, V4 90%"),
        ([8], np.arange(5000) % 400 < 60, r"is there from P to T \(-330 to \+480 ms\) in lead V3 \(missing for 16%\)"),
    ],
)
def test_what_is_missing_too_much_is_refused_and_says_where(recordings, rows, part, message):
    signal = recordings[9].signal.copy()
    for row in rows:
        signal[row, part] = np.nan
    with pytest.raises(wb.RecordError, match=message):
        wb.representative_beat(Record(signal, 500, LEADS12, "x"))
