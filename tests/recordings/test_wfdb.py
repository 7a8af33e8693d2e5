import numpy as np
import pytest
import wfdb

import ecgwb as wb
from ecgwb.recordings.leads import LEADS12
from ecgwb.recordings.reading import again
from ecgwb.recordings.texts import decoded
from ecgwb.recordings.wfdb_files import segments_of

FORMATS = ("8", "16", "24", "32", "61", "80", "160", "212", "310", "311", "508", "516", "524")
SMALL = {"8": 60, "80": 100, "508": 100, "310": 400, "311": 400, "212": 1800}


def stored(n=999, n_leads=12, seed=0):
    """Whole numbers (sample, lead) whose limb leads obey Einthoven."""
    i, ii, *chest = 2 * np.cumsum(np.random.default_rng(seed).integers(-8, 9, (8, n)), axis=1)
    return np.stack([i, ii, ii - i, -(i + ii) // 2, i - ii // 2, ii - i // 2, *chest])[:n_leads].T


def chance(n=999, n_leads=12, size=5000):
    """Whole numbers from -size / 2 on, below size / 2."""
    return np.random.default_rng(0).integers(-size // 2 + 1, size // 2, (n, n_leads))


def write(folder, x, name="r", fmt="16", leads=LEADS12, gain=1000.0, baseline=0, unit="mV", fs=500, **more):
    n = x.shape[1]
    wfdb.wrsamp(name, fs=fs, units=[unit] * n, sig_name=list(leads)[:n], d_signal=x, fmt=[fmt] * n,
                adc_gain=[gain] * n, baseline=[baseline] * n, write_dir=str(folder), **more)  # fmt: skip
    return folder / f"{name}.hea"


def change(header, old, new):
    text = header.read_text()
    assert old in text
    header.write_text(text.replace(old, new))
    return header


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.filterwarnings("ignore:record 'r'. limb leads")
def test_every_format_is_read_as_wfdb_reads_it(tmp_path, fmt):
    n_leads = 8 if fmt.startswith("5") else 12
    size = SMALL.get(fmt, 5000)
    x = chance(n_leads=n_leads, size=size)
    try:
        header = write(tmp_path, x, fmt=fmt, leads=wb.LEADS if n_leads == 8 else LEADS12, gain=50.0, baseline=3)
    except (NotImplementedError, ValueError, KeyError):  # wfdb reads it and does not write it
        header = write(tmp_path, x, fmt="16", gain=50.0, baseline=3)
        raw = {"8": np.diff(x, axis=0, prepend=x[:1]).astype("<i1"), "61": x.astype(">i2"),
               "160": (x + 32768).astype("<u2"), "310": None, "311": None}[fmt]  # fmt: skip
        (tmp_path / "r.dat").write_bytes(_packed(x, fmt) if raw is None else raw.tobytes())
        change(header, ".dat 16", f".dat {fmt}")
    theirs = wfdb.rdrecord(str(tmp_path / "r"))
    record = wb.read_record(header)
    np.testing.assert_allclose(record.signal, 1000 * theirs.p_signal.T, rtol=0, atol=1e-6)
    np.testing.assert_allclose(record.signal, 1000 * (x.T - 3) / 50, rtol=0, atol=1e-6)
    assert record.fs == 500


def _packed(x, fmt):
    """Ten bits a sample, three in four bytes."""
    flat = (x.ravel().astype(np.int64) & 0x3FF).reshape(-1, 3)
    a, b, c = flat.T
    if fmt == "311":
        words = a | b << 10 | c << 20
        return words.astype("<u4").tobytes()
    low, high = (a << 1) | (c & 0x1F) << 11, (b << 1) | (c >> 5 & 0x1F) << 11
    return np.stack([low, high], axis=1).astype("<u2").tobytes()


@pytest.mark.parametrize(
    "after",
    [
        "05-May-2020 09:49:17",
        "2006",
        "05/05/2020 09:49:17",
        "09:49:17 2020-05-05",
        "24:00:00 05/05/2020",
        "99:99 x",
        "?",
    ],
)
def test_a_date_in_whatever_form_costs_nothing_and_is_not_kept(tmp_path, after):
    header = change(write(tmp_path, stored()), "500 999", f"500 999 {after}")
    record = wb.read_record(header)
    assert record.signal.shape == (12, 999)
    assert after not in str(record.metadata)


@pytest.mark.parametrize("gain", ["0(0)/mV", "0", ""])
def test_a_missing_gain_is_assumed_and_said(tmp_path, gain):
    header = write(tmp_path, stored(n_leads=2))
    text = header.read_text().replace("1000.0(0)/mV 16 0", gain + (" 16 0" if gain else "\x01"))
    lines = [x if "\x01" not in x else x.split("\x01")[0] for x in text.splitlines()]
    header.write_text("\n".join(lines) + "\n")
    names = None if gain else ["I", "II"]
    with pytest.warns(UserWarning, match="no gain in the header of .*WFDB's default, 200 per mV"):
        record = wb.read_record(header, leads=names)
    np.testing.assert_allclose(record.signal, stored(n_leads=2).T * 5.0)
    assert any("no gain in the header" in f for f in record.metadata["flags"])
    if not gain.endswith("mV"):
        told = wb.read_record(header, leads=names, unit="4.88 uV")
        np.testing.assert_allclose(told.signal, stored(n_leads=2).T * 4.88)
        assert told.metadata["flags"] == []


@pytest.mark.parametrize("rate", [" 0 999", ""])
def test_without_a_rate_nothing_is_assumed_and_the_caller_may_say_it(tmp_path, rate):
    header = change(write(tmp_path, stored()), " 500 999", rate)
    with pytest.raises(wb.RecordError, match=r"no sampling rate .* Give it: fs=500"):
        wb.read_record(header)
    assert wb.read_record(header, fs=500).fs == 500


def test_skew_offset_adc_zero_and_files_whose_leads_are_interleaved_are_read_as_wfdb_reads_them(tmp_path):
    x = stored(n_leads=4)
    write(tmp_path, x[:, :2], "a")
    write(tmp_path, x[:, 2:], "b")
    (tmp_path / "b.dat").write_bytes(b"head" + (tmp_path / "b.dat").read_bytes())
    (tmp_path / "r.hea").write_text(
        "r 4 500 999\na.dat 16:5 1000/mV 12 7 0 0 0 I\na.dat 16 1000(9)/mV 12 7 0 0 0 II\n"
        "b.dat 16+4 1000/mV 12 0 0 0 0 V1\nb.dat 16+4 1000/mV 12 0 0 0 0 V2\n"
    )
    theirs = wfdb.rdrecord(str(tmp_path / "r")).p_signal.T * 1000
    np.testing.assert_allclose(wb.read_record(tmp_path / "r").signal, theirs)
    assert np.isnan(theirs[0]).sum() == 5
    lines = (tmp_path / "r.hea").read_text().splitlines()
    (tmp_path / "mixed.hea").write_text("\n".join(["mixed 4 500 999", lines[1], lines[3], lines[2], lines[4]]))
    np.testing.assert_allclose(wb.read_record(tmp_path / "mixed").signal, theirs[[0, 2, 1, 3]])


def test_channels_of_several_samples_a_frame_are_read_at_the_rate_of_the_ecg(tmp_path):
    ecg, slow = stored(1000, 2), np.arange(500)
    frames = np.concatenate([ecg[:, 0].reshape(500, 2), ecg[:, 1].reshape(500, 2), slow[:, None]], axis=1)
    (tmp_path / "r.dat").write_bytes(frames.astype("<i2").tobytes())
    leads = "".join(f"r.dat 16x2 1000/mV 12 0 0 0 0 {name}\n" for name in ("I", "II"))
    (tmp_path / "r.hea").write_text(f"r 3 250 500\n{leads}r.dat 16 1/mmHg 12 0 0 0 0 ABP\n")
    record = wb.read_record(tmp_path / "r")
    assert (record.fs, record.leads) == (500, ("I", "II"))
    np.testing.assert_array_equal(record.signal, ecg.T)
    (tmp_path / "s.hea").write_text((tmp_path / "r.hea").read_text().replace("1/mmHg", "1000/mV").replace("ABP", "V1"))
    whole = wb.read_record(tmp_path / "s")
    np.testing.assert_allclose(whole.signal[2, :-1], np.arange(999) / 2)


def segmented(folder, extra=""):
    """Two segments with a gap between them; the second has other leads in another order."""
    x, some = stored(1000), [0, 6, 1]
    write(folder, x[:400], "v_0001")
    write(folder, x[400:][:, some], "v_0002", leads=[LEADS12[k] for k in some], gain=500.0)
    layout = "".join(f"~ 0 1000/mV 16 0 0 0 0 {lead}\n" for lead in LEADS12)
    (folder / "v_layout.hea").write_text(f"v_layout 12 500 0\n{layout}")
    (folder / "v.hea").write_text(f"v/4 12 500 1100{extra}\nv_layout 0\nv_0001 400\n~ 100\nv_0002 600\n# Age: 50\n")
    return x


def test_segments_of_variable_layout_are_one_recording_as_wfdb_reads_it(tmp_path):
    x = segmented(tmp_path, " 24:99 2001")
    record = wb.read_record(tmp_path / "v")
    assert record.signal.shape == (12, 1100)
    np.testing.assert_allclose(record.signal[:, :400], x[:400].T)
    assert np.isnan(record.signal[:, 400:500]).all()
    np.testing.assert_allclose(record.signal[[0, 6, 1], 500:], 2 * x[400:][:, [0, 6, 1]].T)
    assert np.isnan(record.signal[2:6, 500:]).all()
    assert record.metadata["age"] == 50.0
    change(tmp_path / "v.hea", " 24:99 2001", "")
    theirs = wfdb.rdrecord(str(tmp_path / "v")).p_signal.T * 1000
    np.testing.assert_allclose(record.signal, theirs)


def test_a_folders_segments_are_no_records_of_their_own(tmp_path):
    segmented(tmp_path)
    assert segments_of(tmp_path / "v.hea") == {"v_layout", "v_0001", "v_0002"}
    assert segments_of(tmp_path / "v_0001.hea") == frozenset()
    (tmp_path / "bad.hea").write_bytes(b"\x00\xff")
    assert segments_of(tmp_path / "bad.hea") == frozenset()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("v_0002 600", "v_0003 600", "its segment 'v_0003' has no header of its own"),
        ("v_0002 600", "../v_0002 600", "expected files in the header's own folder"),
        ("v_0002 600", "v 600", "its segment 'v' has no header of its own"),
        ("~ 100", "~ 999999999999", "promises 1000000000999 samples, and its files hold"),
        ("v/4", "v/5", "is cut short: it lists 4 of 5 segments; fetch the file again"),
    ],
)
def test_a_header_of_segments_that_cannot_be_is_refused(tmp_path, old, new, message):
    segmented(tmp_path)
    change(tmp_path / "v.hea", old, new)
    with pytest.raises(wb.RecordError) as e:
        wb.read_record(tmp_path / "v")
    assert message in str(e.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
def test_comments_in_any_encoding_and_line_ends_of_any_kind(tmp_path, encoding):
    header = write(tmp_path, stored())
    text = header.read_text().replace("/mV", "/µV") + "# Age: 61\n# Sex: männlich\n# Rhythm: Sinus, 70 Schläge\n"
    header.write_bytes(text.replace("\n", "\r\n").encode(encoding))
    record = wb.read_record(header)
    np.testing.assert_allclose(record.signal, stored().T / 1000)
    assert record.metadata["rhythm"] == "Sinus, 70 Schläge"
    assert (record.metadata["age"], record.metadata["sex"]) == (61.0, "male")


def test_a_text_that_is_neither_utf_is_latin_1():
    assert decoded("µV".encode("latin-1"))[0] == "µV"


@pytest.mark.parametrize("name", ["my ecg", "Größe 1", "心電図", "a.b"])
def test_spaces_and_letters_of_every_language_in_names_of_files(tmp_path, name):
    write(tmp_path, stored())
    folder = tmp_path / "Ordner mit Ärger"
    folder.mkdir()
    (folder / f"{name}.hea").write_text((tmp_path / "r.hea").read_text().replace("r.dat", f"{name}.dat"), "utf-8")
    (folder / f"{name}.dat").write_bytes((tmp_path / "r.dat").read_bytes())
    np.testing.assert_allclose(wb.read_record(folder / f"{name}.hea").signal, stored().T)


def test_a_file_that_was_renamed_is_pointed_to_and_letters_of_other_case_are_found(tmp_path):
    header = write(tmp_path, stored())
    (tmp_path / "r.dat").rename(tmp_path / "R.DAT")
    assert wb.read_record(header).signal.shape == (12, 999)
    (tmp_path / "R.DAT").rename(tmp_path / "q.dat")
    header.rename(tmp_path / "q.hea")
    with pytest.raises(wb.RecordError, match=r"r\.dat is missing; the header names it\. There is q\.dat"):
        wb.read_record(tmp_path / "q.hea")


@pytest.mark.parametrize(
    ("lines", "known"),
    [
        (["<age>: 65 <sex>: F <diagnoses> Coronary artery disease", "patient 1", "PVCs, noise"],
         {"age": 65.0, "sex": "female", "diagnosis": "Coronary artery disease; PVCs, noise"}),
        (["Age: 62  Sex: M"], {"age": 62.0, "sex": "male"}),
        (["69 M 1085 1629 x1", "Aldomet, Inderal"], {"age": 69.0, "sex": "male"}),
        (["Age: 74", "Sex: Female", "Dx: 426783006,59118001", "Rx: Unknown", "Hx: Unknown"],
         {"age": 74.0, "sex": "female", "diagnosis": "sinus rhythm; right bundle branch block"}),
        (["Age: NaN", "Sex: Unknown"], {}),
    ],
)  # fmt: skip
def test_age_sex_and_diagnoses_as_data_sets_write_them(tmp_path, lines, known):
    assert wb.read_record(write(tmp_path, stored(), comments=lines)).metadata == known | {"flags": []}


@pytest.mark.parametrize(
    ("lines", "flag"),
    [
        (["Age: >89"], "an age given as 90 or more is taken as 90 (header)"),
        (["Age: 300"], "an age that is not from 0 to 130 years is left out (header)"),
        (["Sex: 1"], "a sex given as a number is left out: data sets number men and women differently (header)"),
    ],
)
def test_a_doubt_about_a_person_is_a_flag(tmp_path, lines, flag):
    assert wb.read_record(write(tmp_path, stored(), comments=lines)).metadata["flags"] == [flag]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (".dat 16 1000", ".dat 99 1000", "r.dat is of format 99; expected one of 8, 16"),
        ("r 12 500", "r twelve 500", "malformed: its first line is not name, number of leads, rate and length"),
        (".dat 16 1000.0(0)/mV 16 0", ".dat sixteen", "malformed: line 2 is none of leads"),
    ],
)
def test_fetch_again_is_said_only_of_what_is_damaged(tmp_path, old, new, message):
    header = change(write(tmp_path, stored()), old, new)
    with pytest.raises(wb.RecordError) as e:
        wb.read_record(header)
    assert message in str(e.value)
    assert "fetch" not in str(e.value)


def test_a_flac_file_that_is_cut_is_to_be_fetched_again(tmp_path):
    header = write(tmp_path, stored(9999, 8), fmt="516", leads=wb.LEADS)
    data = tmp_path / "r.dat"
    data.write_bytes(data.read_bytes()[:3000])
    with pytest.raises(wb.RecordError, match="fetch the file again"):
        wb.read_record(header)


def test_a_read_only_folder_is_read(tmp_path):
    header = write(tmp_path, stored())
    before = sorted(tmp_path.iterdir())
    tmp_path.chmod(0o555)
    try:
        assert wb.read_record(header).signal.shape == (12, 999)
    finally:
        tmp_path.chmod(0o755)
    assert sorted(tmp_path.iterdir()) == before


def test_a_disk_that_fails_for_a_moment_is_asked_again():
    errors = [OSError(5, "Input/output error"), OSError(116, "Stale file handle")]

    def read():
        if errors:
            raise errors.pop()
        return "read"

    assert again(read) == "read"


@pytest.mark.parametrize(("code", "calls"), [(5, 3), (2, 1), (13, 1)])
def test_a_disk_that_fails_for_good_is_not(code, calls):
    asked = []

    def read():
        asked.append(1)
        raise OSError(code, "no")

    with pytest.raises(OSError, match="no"):
        again(read)
    assert len(asked) == calls
