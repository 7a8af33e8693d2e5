"""Packed cohorts: what is kept of one, and the embedded one of all of PTB-XL."""

import lzma
from pathlib import Path

import numpy as np
import pytest

import ecgwb as wb
from ecgwb.cohorts.packed import pack, unpack
from ecgwb.cohorts.stores import open_store


def band_limited(beats):
    """Without what is above 40 Hz, with a smooth step to zero."""
    spectrum = np.fft.rfft(beats, axis=-1)
    hz = np.fft.rfftfreq(beats.shape[-1], 0.002)
    return np.fft.irfft(spectrum * (0.5 + 0.5 * np.cos(np.pi * ((hz - 35) / 10).clip(0, 1))), beats.shape[-1])


@pytest.fixture(scope="module")
def smooth(ludb):
    return ludb.isel(record=slice(60)).assign(
        beat=ludb["beat"].isel(record=slice(60)).copy(data=band_limited(ludb["beat"].values[:60]).astype(np.float32))
    )


def test_a_packed_cohort_comes_back_to_within_its_steps(smooth, tmp_path):
    pack(smooth, tmp_path / "small.xz")
    unpack(tmp_path / "small.xz", tmp_path / "store.zarr")
    back = open_store(tmp_path / "store.zarr")
    assert set(back.variables) == set(smooth.variables)
    assert back.attrs == smooth.attrs
    inside = slice(-450.0, 650.0)  # a beat that was filtered in a circle bends at its ends
    away = np.abs(back["beat"] - smooth["beat"]).sel(time=inside)
    assert float(away.max()) < 10
    assert float(np.sqrt((away**2).mean())) < 1
    for name, v in smooth.variables.items():
        if v.dtype.kind in "UO":
            np.testing.assert_array_equal(back[name], v)
        elif name != "beat":
            np.testing.assert_allclose(back[name], v, atol=0.0501, err_msg=name)
            assert (back[name].dtype.kind == "i") == (v.dtype.kind == "i")


def test_a_damaged_file_is_said_to_be(smooth, tmp_path):
    file = tmp_path / "small.xz"
    pack(smooth, file)
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(wb.RecordError, match="damaged"):
        unpack(file, tmp_path / "store.zarr")
    file.write_bytes(lzma.compress(b"something else"))
    with pytest.raises(wb.RecordError, match="damaged"):
        unpack(file, tmp_path / "store.zarr")
    assert not (tmp_path / "store.zarr").exists()


SAMPLE = Path(__file__).parents[1] / "data" / "ptbxl100"


def test_the_embedded_cohort_is_what_ptbxls_own_folder_gives():
    own, embedded = wb.build_cohort(SAMPLE), wb.open_cohort("ptbxl")
    assert embedded.sizes["record"] + len(wb.excluded(embedded)) == 21_799
    some = embedded.sel(record=own["record"].values)
    np.testing.assert_allclose(some["fiducial"], own["fiducial"], atol=1.0)
    for name in ("pr", "qrs", "qt"):
        np.testing.assert_allclose(some[name], own[name], atol=1.0, err_msg=name)
    np.testing.assert_allclose(some["hr"], own["hr"], atol=0.05)
    away = (some["beat"] - own["beat"]).sel(time=slice(-300.0, 450.0))
    assert float(np.sqrt((away**2).mean())) < 5
    for name in ("age", "fold", "superclass", "n_beats", "n_beats_found"):
        np.testing.assert_array_equal(some[name], own[name], err_msg=name)
    known = some["sex"].values != ""
    np.testing.assert_array_equal(some["sex"][known], own["sex"][known])
    assert own.attrs["folds"] == embedded.attrs["folds"] == "ptbxl"
    assert all(str(p).startswith("ptbxl-") for p in own["patient"].values)


def test_nobody_is_split_where_patients_are_not_named():
    embedded = wb.open_cohort("ptbxl").isel(record=slice(50))
    with pytest.raises(ValueError, match="split by its folds"):
        wb.split_patients(embedded)


def test_whole_recordings_of_a_packed_cohort_are_not_at_hand():
    with pytest.raises(wb.RecordError, match="has beats only"):
        wb.open_cohort("ptbxl", rhythm=True)
