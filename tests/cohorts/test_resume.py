"""Building that is interrupted: killed, without room, beside another writer, over broken files."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ecgwb as wb
from ecgwb import workers
from ecgwb.__main__ import main
from ecgwb.cohorts import building, stores

PER_CHUNK = 3
IDS = [str(i) for i in range(1, 11)]

# Children are forked from one process that has imported everything: a kill costs a second, not five.
SCRIPT = """
import json, os, resource, signal, sys
import ecgwb as wb
from ecgwb.cohorts import building, stores

folder, out, mode = sys.argv[1:]
stores.CHUNK = 3
wb.delineate(wb.read_record(folder + "/1"))
build = building.build_chunk


def child(work):
    pid = os.fork()
    if not pid:
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def killed_at(n):
    seen, built = 0, []
    had = sorted(p.name[:6] for p in stores.Path(out + ".building").glob("*.npz"))

    def watch(event, args):
        nonlocal seen
        if event in ("open", "os.rename", "os.mkdir") and ".zarr" in str(args[0]):
            seen += 1
            if seen == n:
                os.write(1, (json.dumps([n, had, built]) + "\\n").encode())
                os.kill(os.getpid(), signal.SIGKILL)

    def noted(items, **kwargs):
        built.append([i.record_id for i in items])
        return build(items, **kwargs)

    building.build_chunk = noted
    sys.addaudithook(watch)
    wb.build_cohort(folder, out)
    os.write(1, (json.dumps([None, had, built]) + "\\n").encode())


def without_room(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        wb.build_cohort(folder, out)
    except wb.RecordError as e:
        os.write(1, str(e).encode())


if mode == "kill":
    k = 1
    while child(lambda: killed_at(k * k)):
        k += 1
else:
    child(lambda: without_room(100_000))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, ludb_folder):
    out = tmp_path_factory.mktemp("wfdb")
    for i in IDS:
        for kind in ("hea", "dat"):
            shutil.copy(ludb_folder / "data" / f"{i}.{kind}", out / f"{i}.{kind}")
    (out / "4.dat").write_bytes((out / "4.dat").read_bytes()[:5000])
    return out


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    """The store of a build that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole") / "c.zarr"
    with pytest.MonkeyPatch.context() as m:
        m.setattr(stores, "CHUNK", PER_CHUNK)
        wb.build_cohort(folder, out)
    return out


def run(folder, out, mode):
    script = [sys.executable, "-c", SCRIPT, str(folder), str(out), mode]
    done = subprocess.run(script, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    return done.stdout


def contents(store):
    files = {p.relative_to(store).as_posix(): p.read_bytes() for p in store.rglob("*") if p.is_file()}
    files[".zmetadata"] = json.loads(files[".zmetadata"])  # some versions of zarr write it in no fixed order
    return files


def test_killed_again_and_again_it_goes_on_and_gives_the_same_bytes(folder, whole, tmp_path):
    lives = [json.loads(line) for line in run(folder, tmp_path / "c.zarr", "kill").splitlines()]
    assert len(lives) > 8
    assert lives[-1][0] is None
    assert len({len(had) for _, had, _ in lives}) >= 3  # kills fell before, between and after the chunks
    for _, had, built in lives:
        done = {i for name in had for i in sorted(IDS)[PER_CHUNK * int(name) : PER_CHUNK * int(name) + PER_CHUNK]}
        assert not done & {i for chunk in built for i in chunk}
    assert contents(tmp_path / "c.zarr") == contents(whole)
    assert [p.name for p in tmp_path.iterdir()] == ["c.zarr"]


def test_a_full_disk_says_so_and_the_same_call_goes_on(folder, whole, tmp_path, monkeypatch):
    message = run(folder, tmp_path / "c.zarr", "no room")
    assert "no room to store" in message
    assert "run the same call again" in message
    assert not (tmp_path / "c.zarr").exists()
    monkeypatch.setattr(stores, "CHUNK", PER_CHUNK)
    wb.build_cohort(folder, tmp_path / "c.zarr")
    assert contents(tmp_path / "c.zarr") == contents(whole)


def test_two_writers_of_one_store_are_refused(folder, tmp_path):
    out = tmp_path / "c.zarr"
    with stores.building(out), pytest.raises(wb.RecordError, match=r"being built by process \d+ on "):
        wb.build_cohort(folder, out)
    assert wb.build_cohort(folder, out).sizes["record"] == 9


def test_a_part_that_is_cut_short_is_built_again(folder, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "CHUNK", PER_CHUNK)
    out = tmp_path / "c.zarr"
    kept = {}

    def stop_before_the_end(files, *args):
        kept["parts"] = sorted(files)
        raise KeyboardInterrupt

    with monkeypatch.context() as m:
        m.setattr(stores, "put_together", stop_before_the_end)
        with pytest.raises(KeyboardInterrupt):
            wb.build_cohort(folder, out)
    assert len(kept["parts"]) == 4
    first = kept["parts"][0]
    first.write_bytes(first.read_bytes()[:-200])
    wb.build_cohort(folder, out)
    assert contents(out) == contents(whole)


def test_a_complete_store_is_returned_to_its_own_call_and_refused_to_others(folder, whole, monkeypatch):
    before = contents(whole)
    monkeypatch.setattr(building, "build_chunk", None)  # not needed again
    assert wb.build_cohort(folder, whole).sizes["record"] == 9
    with pytest.raises(wb.RecordError, match="exists already, and another source, metadata or version"):
        wb.build_cohort(folder, whole, metadata=pd.DataFrame({"record": ["1"], "age": [50]}))
    with pytest.raises(wb.RecordError, match="exists already"):
        wb.build_cohort(wb.read_record(folder / "1"), whole)
    assert contents(whole) == before


def test_the_store_holds_what_is_built_in_memory(folder, whole):
    stored, here = wb.open_cohort(whole, rhythm=True), wb.build_cohort(folder)
    assert set(stored.variables) == set(here.variables)
    for name in here.variables:
        assert stored[name].dims == here[name].dims
        assert stored[name].attrs == here[name].attrs
        if here[name].dtype.kind == "f":
            np.testing.assert_allclose(stored[name], here[name], atol=1e-3)
        else:
            np.testing.assert_array_equal(stored[name], here[name])


def test_a_generator_is_read_as_the_work_goes_on(folder, monkeypatch, tmp_path):
    monkeypatch.setattr(stores, "CHUNK", PER_CHUNK)
    monkeypatch.setattr(workers, "cores", lambda: 1)
    ahead = []

    def records(stop=None):
        for i in IDS[:3] + IDS[4:]:
            if i == stop:
                raise OSError("the network went away")
            ahead.append(i)
            yield wb.read_record(folder / i)

    real = building.build_chunk
    most = []

    def noted(items, **kwargs):
        most.append(len(ahead))
        return real(items, **kwargs)

    monkeypatch.setattr(building, "build_chunk", noted)
    with pytest.raises(OSError, match="went away"):
        wb.build_cohort(records("9"), tmp_path / "c.zarr")
    assert most[0] <= 2 * PER_CHUNK
    n = len(most)
    cohort = wb.build_cohort(records(), tmp_path / "c.zarr")
    assert cohort["record"].values.tolist() == IDS[:3] + IDS[4:]
    assert len(most) - n == 1  # the two chunks that were done are not built again
    with pytest.raises(wb.RecordError, match="'1' occurs twice"):
        wb.build_cohort(r for r in [wb.read_record(folder / "1")] * 2)
    with pytest.raises(wb.RecordError, match="no recordings found"):
        wb.build_cohort(r for r in [])


BREAKS = {
    "1": lambda p: p.with_suffix(".hea").write_bytes(b""),
    "2": lambda p: p.with_suffix(".hea").write_bytes(bytes(range(256))),
    "3": lambda p: p.with_suffix(".dat").unlink(),
    "4": lambda p: p.with_suffix(".dat").write_bytes(b"\x00"),
    "5": lambda p: p.with_suffix(".hea").write_text(p.with_suffix(".hea").read_text().replace("500 ", "5 ", 1)),
    "6": lambda p: p.with_suffix(".hea").write_text(p.with_suffix(".hea").read_text()[:40]),
    "7": lambda p: p.with_suffix(".dat").write_bytes(np.full(60000, -32768, "<i2").tobytes()),
}


def test_a_broken_file_costs_its_own_record_alone(folder, tmp_path):
    spoilt = tmp_path / "broken"
    shutil.copytree(folder, spoilt)
    shutil.copy(spoilt / "8.dat", spoilt / "4.dat")
    for name, destroy in BREAKS.items():
        destroy(spoilt / name)
    cohort = wb.build_cohort(spoilt)
    left = wb.excluded(cohort).set_index("record")
    assert set(left.index) == set(BREAKS)
    assert left["reason"].str.len().min() > 10
    assert sorted(cohort["record"].values, key=int) == ["8", "9", "10"]


def test_the_command_line_builds_without_a_screen(folder, tmp_path, capsys):
    assert main(["build", str(folder), str(tmp_path / "c.zarr")]) == 0
    assert "9 records, 1 left out" in capsys.readouterr().out
    assert main(["build", str(tmp_path / "nowhere"), str(tmp_path / "d.zarr")]) == 1
    assert "error: no folder" in capsys.readouterr().err
