import numpy as np
import pytest

import ecgwb as wb
from ecgwb.recordings.channels import Channels, Told, to_record
from ecgwb.recordings.leads import LEADS12, is_lead, standard_lead, standard_leads, told_leads

UNDERSTOOD = {
    "I": "I|i| I |Lead I (Einthoven)|ECG I|EKG I|ecg_I|ECGI|LeadI|MDC_ECG_LEAD_I|MDC_ECG_ELEC_POTL_I|131329|DI|Ⅰ|I (mV)"
    "|Ableitung I|Abl. I|derivation I|Derivación I|I导联",
    "II": "Lead-II|EKG II|II rhythm|II (rhythm strip)|Ⅱ|DII|131330|lead_ii|II_mV",
    "III": "III|DIII|Ⅲ|131389|derivazione III|III,mV",
    "aVR": "AVR|avr|a VR|aV R|VR|MDC_ECG_LEAD_AVR|ecg-avr|aVR, augmented voltage, right|131390",
    "aVL": "VL|ECG aVL",
    "aVF": "VF|ECG Lead aVF|131392",
    "V1": "v1|V 1|V_1|Brustwand V1|V1 (uV)|V1 [µV]|V1 [μV]|131331|Dérivation V1",
    "V6": "131336|lead V6",
    "-aVR": "-aVR|−aVR|ECG -aVR|Lead -aVR",
    "X": "x|VX",
    "V4R": "v4r",
    "MLII": "MLII|mlii",
}
NOT = ("V10|V0|I1|IV|II1|INV|I-II|V1-V2|ECG|ECG1|ECG 1|EKG|Lead 1|Channel 1|1|L1|L2|D1|C1|C3|EEG C3|RESP|Pleth|SpO2|"
       "ABP|I (filtered)|V4 (V4R)|aVR-||mV|lead|XI")  # fmt: skip


@pytest.mark.parametrize(("lead", "names"), UNDERSTOOD.items())
def test_names_of_leads_are_understood(lead, names):
    assert {standard_lead(name) for name in names.split("|")} == {lead}


@pytest.mark.parametrize("name", NOT.split("|"))
def test_what_is_not_surely_a_lead_stays_as_it_is(name):
    assert standard_lead(name) == name
    assert not is_lead(name)


def test_a_modified_lead_is_not_the_one_it_is_called_after():
    assert is_lead("MLII")
    assert "MLII" not in LEADS12


def test_c1_to_c6_are_chest_leads_beside_limb_leads_and_places_of_an_eeg_elsewhere():
    limb, chest = ["D1", "D2", "D3", "VR", "VL", "VF"], [f"C{k}" for k in range(1, 7)]
    assert standard_leads([*limb, *chest]) == LEADS12
    assert standard_leads(["I", "II", *chest])[2:] == LEADS12[6:]
    assert standard_leads(["ECG I", "ECG II", "C3", "C4"]) == ("I", "II", "C3", "C4")
    assert standard_leads(chest) == tuple(chest)
    assert standard_leads(["I", "II", *chest, "Cz"])[2:] == (*chest, "Cz")
    assert standard_leads(["D1", "D2", "D3", "D4"]) == ("D1", "D2", "D3", "D4")


def test_what_the_caller_says_overrules():
    assert told_leads(["MLII", "V5"], {"mlii": "II"}) == ("II", "V5")
    assert told_leads(["", ""], ["i", "Lead II"]) == ("I", "II")
    assert told_leads(["I", "sound"], ["I", None]) == ("I", "")
    assert told_leads(["I", "II"], {"I": None}) == ("", "II")


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"MLI": "II"}, "the channel 'MLI', which the file has not; it has 'MLII', 'V5'"),
        ({"MLII": "V12"}, "leads names 'V12'; expected one of I, II, III, aVR"),
        (["I"], "leads names 1 channels; the file has 2: 'MLII', 'V5'"),
        ("I", "expected {name in the file: lead}"),
        (7, "expected {name in the file: lead}"),
    ],
)
def test_what_the_caller_says_wrongly_is_named_with_what_there_is(told, message):
    with pytest.raises(wb.RecordError) as e:
        to_record(Channels(np.zeros((2, 500)), 500, ("MLII", "V5"), ("mV", "mV")), "r7", Told(told))
    assert message in str(e.value)
    assert "r7" in str(e.value)


def test_a_record_by_hand_keeps_what_its_maker_told_apart():
    assert wb.Record(np.zeros((2, 9)), 500, ["Lead II", "RESP"]).leads == ("II", "RESP")
    assert wb.Record(np.zeros((2, 9)), 500, ["ii", "ECG II"]).leads == ("II", "ECG II")
    with pytest.raises(wb.RecordError, match="more than once"):
        wb.Record(np.zeros((2, 9)), 500, ["avr", "AVR"])
