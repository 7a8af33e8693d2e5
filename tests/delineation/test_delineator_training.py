"""The delineator's labels and its decoding undo each other; its training goes on where it was interrupted."""

import numpy as np
import torch
from studies import delineator_examples, delineator_training

from ecgwb.cohorts.sources import unpack
from ecgwb.delineation.decoding import decode
from ecgwb.delineation.network import EXCLUSIVE, load_delineator


def test_labels_decode_to_the_marks_they_were_made_from():
    """To a fraction of a sample, though no boundary falls on one."""
    marks = np.array([[0, 100.3, 110.0, 121.7], [1, 140.25, 150.0, 165.5], [2, 210.1, 240.0, 270.9]])
    target, weight = delineator_examples.targets([marks], 400)
    onset_peak_offset = np.array([row[2:] for row in decode(target)]) / 4
    np.testing.assert_allclose(onset_peak_offset, marks[:, 1:], atol=0.15)
    assert weight[0, 101:270].min() == 1
    assert weight[0, :100].max() == weight[0, 272:].max() == 0


def test_one_network_one_answer_for_any_number_of_leads():
    model = load_delineator()
    x = torch.randn(2, 3, 555, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        y = model(x)
        assert y.shape == (2, 3, 7, 555)
        torch.testing.assert_close(model(x[:, [2, 0, 1]]), y[:, [2, 0, 1]], rtol=0, atol=1e-3)
        torch.testing.assert_close(model(x[1:]), y[1:], rtol=0, atol=1e-3)


def test_an_interrupted_training_goes_on_as_if_it_had_not_been(tmp_path):
    folder = unpack("ludb") / "data"
    people = [delineator_examples.load_person(folder / f"{n}.hea") for n in (1, 8)]
    whole = delineator_training.fit(people, tmp_path, seed=3, steps=4, label="whole")
    delineator_training.fit(people, tmp_path, seed=3, steps=4, label="cut", stop_at=2)
    resumed = delineator_training.fit(people, tmp_path, seed=3, steps=4, label="cut")
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=0, msg=name)


def test_examples_come_from_the_seed_and_hold_what_was_marked():
    person = delineator_examples.load_person(unpack("ludb") / "data" / "1.hea")
    seen = np.zeros(4)
    for step in range(12):
        one, two = (delineator_examples.examples([person], np.random.default_rng([7, step])) for _ in range(2))
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
        x, target, weight = one
        assert torch.isfinite(x).all()
        torch.testing.assert_close(target[:, :, EXCLUSIVE].sum(2), torch.ones(x.shape), rtol=0, atol=1e-5)
        seen += (target[:, :, :4] * weight[:, :, None]).sum((0, 1, 3)).numpy()
    share = seen / seen.sum()  # in record 1 QRS lasts 80 to 100, P 80 to 110, T 200 to 230 of some 1340 ms
    assert 0.05 < share[1] < 0.12
    assert 0.05 < share[2] < 0.12
    assert 0.12 < share[3] < 0.22
