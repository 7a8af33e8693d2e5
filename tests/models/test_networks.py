import pytest
import torch
from torch import nn

from ecgwb.models.networks import CompactNet, KanResModule, KanResWideX, LongConv1d


def count(net):
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(("leads", "outputs", "samples"), [(8, 8, 600), (12, 1, 600), (8, 3, 5000)])
def test_kanres_takes_any_leads_and_length(leads, outputs, samples):
    net = KanResWideX(leads, outputs).eval()
    with torch.inference_mode():
        assert net(torch.zeros(2, leads, samples)).shape == (2, outputs)


def test_kanres_has_the_papers_number_of_parameters():
    assert count(KanResWideX()) == 1_651_496


@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")
def test_a_kanres_module_pads_as_torch_does():
    torch.manual_seed(0)
    ours = KanResModule().eval()
    x = torch.randn(2, 32, 99)
    y = x
    for conv, bn in ((ours.conv1, ours.bn1), (ours.conv2, ours.bn2)):
        y = torch.relu(bn(nn.functional.conv1d(y, conv.weight, conv.bias, padding="same")))
    torch.testing.assert_close(ours(x), x + y)


def test_a_long_convolution_in_training_has_the_values_and_gradients_of_torchs():
    torch.manual_seed(0)
    long = LongConv1d(6, 5, 50).train()
    plain = nn.Conv1d(6, 5, 50)
    plain.load_state_dict(long.state_dict())
    x, weight = torch.randn(2, 3, 6, 349), torch.randn(3, 5, 300)
    ours, theirs = x[0].clone().requires_grad_(), x[0].clone().requires_grad_()
    for conv, given in ((long, ours), (plain, theirs)):
        (conv(given) * weight).sum().backward()
    torch.testing.assert_close(long(x[1]), plain(x[1]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(long.weight.grad, plain.weight.grad, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(long.bias.grad, plain.bias.grad, rtol=1e-4, atol=1e-3)


def test_the_compact_net_is_ten_times_smaller_and_looks_every_8_ms():
    net = CompactNet()
    assert count(net) * 10 < count(KanResWideX())
    with torch.inference_mode():
        assert net.blocks(net.stem(torch.zeros(1, 8, 600))).shape[2] == 150
