"""Four workers, one of which is killed in the middle of the work, give what one process gives, bit for bit."""

import contextlib
import json
import os
import signal
import threading
import time

import medical_files as files
import numpy as np
import pytest
from bad_input import ptbxl as ecg_of_ptbxl
from medical_files import EIGHT, LEADS12, WHO

import ecgwb as wb
from ecgwb.cohorts import stores
from ecgwb.models import prediction
from ecgwb.recordings.identity import Key, own_key, pseudonym, pseudonyms_by

pytestmark = pytest.mark.filterwarnings("ignore::Warning")  # dask and its servers warn of what is theirs


@pytest.fixture(autouse=True)
def as_on_the_workers(tmp_path_factory, monkeypatch, one_thread):
    """One thread; and a home of the tests' own."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path_factory.getbasetemp() / "home"))


@pytest.fixture
def client(tmp_path):
    """Of four workers, whose home is another than the client's."""
    distributed = pytest.importorskip("distributed", reason="the extra 'cluster' is not installed")
    elsewhere = {"XDG_DATA_HOME": str(tmp_path / "home of the workers"), "OMP_NUM_THREADS": "1"}
    with (
        distributed.LocalCluster(
            n_workers=4, threads_per_worker=1, memory_limit=None, dashboard_address=None, env=elsewhere
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@contextlib.contextmanager
def one_worker_killed(client, ready=lambda: True):
    """Within, one worker that has work to do is killed as soon as it is `ready`."""
    pids, killed, over = client.run(os.getpid), [], threading.Event()

    def watch():
        while not killed and not over.is_set():
            busy = [worker for worker, tasks in client.processing().items() if tasks and worker in pids]
            if busy and ready():
                os.kill(pids[busy[0]], signal.SIGKILL)
                killed.append(busy[0])
            time.sleep(0.005)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert len(killed) == 1
    assert pids[killed[0]] not in client.run(os.getpid).values()


def contents(store):
    found = {p.relative_to(store).as_posix(): p.read_bytes() for p in store.rglob("*") if p.is_file()}
    found[".zmetadata"] = json.loads(found[".zmetadata"])  # some versions of zarr write it in no fixed order
    return found


def test_a_worker_killed_in_the_middle_changes_no_bit(client, few_of_ludb, measures, tmp_path, monkeypatch):
    folder = few_of_ludb(22)
    ecg = ecg_of_ptbxl()[[LEADS12.index(lead) for lead in EIGHT]]
    for k in (1, 2):  # two of one person
        (folder / f"muse{k}.xml").write_bytes(files.muse(ecg * k))
    monkeypatch.setattr(stores, "CHUNK", 1)
    monkeypatch.setattr(prediction, "PART", {"beat": 2, "rhythm": 2})
    out, home = tmp_path / "workers.zarr", tmp_path / "home.zarr"
    with one_worker_killed(client, lambda: len(list(tmp_path.glob("workers.zarr.building/*.npz"))) >= 2):
        wb.build_cohort(folder, out, client=client)
    wb.build_cohort(folder, home)
    assert contents(out) == contents(home)
    cohort = wb.open_cohort(out)
    assert wb.excluded(cohort)["record"].tolist() == ["4"]
    # Workers made pseudonyms with the client's key, which stands nowhere in the cohort.
    assert cohort["patient"].values.tolist().count(pseudonym(WHO["number"])) == 2
    key = own_key().value
    assert not any(key in content or key.hex().encode() in content for content in contents(out).values()
                   if isinstance(content, bytes))  # fmt: skip

    with one_worker_killed(client):
        predicted = wb.predict(measures, cohort, client=client)
    at_home = wb.predict(measures, cohort)
    assert predicted.attrs == at_home.attrs
    for target in measures.spec.targets:
        np.testing.assert_array_equal(predicted[target], at_home[target])


def test_a_key_that_came_with_the_work_is_used_within_it_alone_and_is_not_printed():
    mine, theirs = pseudonym("4711"), Key(b"another key of thirty-two bytes!")
    with pseudonyms_by(theirs):
        assert own_key() == theirs
        assert pseudonym("4711") not in (None, mine)
    assert pseudonym("4711") == mine
    assert "thirty" not in f"{theirs} {theirs!r}"
