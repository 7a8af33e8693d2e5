import numpy as np
import pytest
import torch
from conftest import TYPICAL, made_cohort, wrapped
from torch import nn

import ecgwb as wb
from ecgwb.models.activations import positions
from ecgwb.models.networks import CompactNet, KanResWideX


def test_receptive_fields_are_those_of_the_architectures():
    compact = positions(wrapped(CompactNet(n_outputs=2)))
    assert compact.field * 2 == 414
    np.testing.assert_array_equal(compact.sample, 4 * np.arange(150))
    torch.manual_seed(0)
    kanres = positions(wrapped(KanResWideX(n_outputs=2)))
    # 16 convolutions of 50 at 2 samples a position: 1 + 7 + 2 + 1 + 16 * 49 * 2 = 1579 samples, 3.16 s.
    assert kanres.field == 1579
    # Centred at 2k + 5 as designed, and half a position later with each of the 16 even kernels.
    assert kanres.sample[0] == pytest.approx(5 + 16, abs=1)
    assert kanres.sample[1] - kanres.sample[0] == pytest.approx(2)


@pytest.mark.parametrize(
    "layers",
    [  # (kernel, stride, padding, dilation, pooled) from the input on
        [(7, 3, 3, 1, "")],
        [(3, 1, 4, 4, "")],
        [(4, 2, 0, 1, "")],
        [(3, 1, 1, 1, ""), (2, 2, 0, 1, "max")],
        [(8, 2, 0, 1, ""), (5, 3, 2, 2, ""), (4, 1, 0, 1, "")],
        [(5, 2, 2, 1, ""), (4, 2, 1, 1, "max"), (3, 1, 2, 2, ""), (2, 2, 0, 1, "average")],
    ],
)
def test_receptive_fields_follow_from_kernels_strides_paddings_and_dilations(layers):
    """By the recursion of Araujo, Norris & Sim (2019), doi 10.23915/distill.00021."""
    body, channels, centre, step, field = [], 8, 0.0, 1, 1
    for kernel, stride, padding, dilation, pooled in layers:
        if pooled:
            body.append((nn.MaxPool1d if pooled == "max" else nn.AvgPool1d)(kernel, stride, padding))
        else:
            body += [nn.Conv1d(channels, 4, kernel, stride, padding, dilation), nn.BatchNorm1d(4), nn.ReLU()]
            channels = 4
        centre += step * (dilation * (kernel - 1) / 2 - padding)
        field += step * dilation * (kernel - 1)
        step *= stride
    net = nn.Sequential(nn.Sequential(*body), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 2))
    where = positions(wrapped(net, layer="0"))
    assert where.how == "receptive-field centres"
    assert where.field == field
    np.testing.assert_allclose(where.sample, centre + step * np.arange(len(where.sample)))


def test_a_layer_that_sees_everything_has_its_positions_spread_evenly():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv1d(8, 4, 5, stride=5), nn.Linear(8, 2)
            self.rnn = nn.GRU(4, 4, bidirectional=True, batch_first=True)
            self.seen = nn.Identity()

        def forward(self, x):
            return self.head(self.seen(self.rnn(self.conv(x).mT)[0].mT).mean(dim=2))

    model = wrapped(Recurrent(), layer="seen")
    where = positions(model)
    assert where.how == "evenly spread"
    np.testing.assert_allclose(where.sample, 5 * np.arange(120) + 2)
    assert np.isfinite(wb.ecgradcam(model, made_cohort(TYPICAL))).all()
