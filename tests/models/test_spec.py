from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import TinyNet
from safetensors.torch import save_file

import ecgwb as wb
from ecgwb.models.networks import CompactNet
from ecgwb.models.spec import ModelError


def test_shipped_models_say_what_they_take_and_on_whom_they_were_trained(measures, sex_net):
    assert measures.spec.targets == wb.TARGETS
    assert measures.spec.units == ("ms", "ms", "ms", "bpm", "µV", "µV", "µV")
    assert sex_net.spec.link == "logit"
    assert sex_net.spec.trained_on == {"ptbxl": sorted(f"ptbxl fold {k}" for k in range(1, 10))}


def test_a_stored_model_comes_back_the_same(tiny, tmp_path):
    net = CompactNet(n_outputs=2, width=16)
    spec = wb.ModelSpec(
        targets=("qt", "hr"), units=("ms", "bpm"), layer="blocks", net={"name": "compact", "n_outputs": 2, "width": 16}
    )
    wb.save_model(wb.wrap_model(net, spec), tmp_path / "m.safetensors")
    again = wb.load_model(tmp_path / "m.safetensors")
    assert again.spec == spec
    assert not again.training
    x = torch.randn(3, 8, 600)
    torch.testing.assert_close(again(x), net.eval()(x))
    wb.save_model(tiny, tmp_path / "foreign.safetensors")
    with pytest.raises(ModelError, match="not part of ecgwb"):
        wb.load_model(tmp_path / "foreign.safetensors")
    assert wb.load_model(tmp_path / "foreign.safetensors", module=TinyNet()).spec == tiny.spec


class Evil:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


def test_a_pickle_is_refused_whatever_its_ending(tmp_path):
    for name in ("m.pt", "m.safetensors"):
        torch.save(Evil(), tmp_path / name)
        with pytest.raises(ModelError, match=r"is refused.*runs code when opened"):
            wb.load_model(tmp_path / name)


def test_a_checkpoint_of_tensors_alone_is_opened_with_a_spec(tiny, tmp_path, ludb):
    for kept in (tiny.state_dict(), {"state_dict": tiny.state_dict(), "epoch": 3}):
        torch.save(kept, tmp_path / "m.pt")
        again = wb.load_model(tmp_path / "m.pt", TinyNet(), tiny.spec)
        np.testing.assert_array_equal(wb.predict(again, ludb)["a"], wb.predict(tiny, ludb)["a"])
    with pytest.raises(ModelError, match="carries no ModelSpec"):
        wb.load_model(tmp_path / "m.pt", TinyNet())
    torch.save([1, 2], tmp_path / "m.pt")
    with pytest.raises(ModelError, match="holds list; expected a state dict"):
        wb.load_model(tmp_path / "m.pt", TinyNet(), tiny.spec)


def test_weights_without_a_spec_are_refused_with_one_to_fill_in(tmp_path):
    save_file({"w": torch.zeros(1)}, str(tmp_path / "m.safetensors"))
    with pytest.raises(ModelError, match=r"wb.ModelSpec\(input="):
        wb.load_model(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": ("qt",), "units": ("ms",)}, "its spec names 1 targets"),
        ({"leads": ("I", "II")}, "refuses what its spec promises"),
        ({"net": {"name": "compact", "n_outputs": 2, "width": 32}}, "is .* in the file and .* in the network"),
        ({"net": {"name": "kanres", "n_outputs": 2}}, "is not in the file and"),
        ({"layer": "features"}, "no layer 'features'"),
    ],
)
def test_a_file_whose_spec_disagrees_with_its_weights_is_refused_by_name(tmp_path, change, message):
    net = {"name": "compact", "n_leads": 8, "n_outputs": 2, "width": 16}
    model = CompactNet(n_outputs=2, width=16)
    spec = wb.ModelSpec(targets=("qt", "hr"), units=("ms", "bpm"), layer="blocks", net=net)
    wb.wrap_model(model, spec)
    model.spec = replace(spec, **change)
    wb.save_model(model, tmp_path / "m.safetensors")
    with pytest.raises(ModelError, match=message):
        wb.load_model(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"targets": ("a",), "layer": "features"}, r"gives \(1, 2\), its spec names 1"),
        ({"targets": ("a", "b"), "layer": "blocks"}, "no layer 'blocks'; it has features"),
        ({"targets": ("a", "b"), "leads": ("I",), "layer": "features"}, "refuses what its spec promises"),
        ({"targets": ("a", "b"), "input": "strip"}, "expected 'beat' or 'rhythm'"),
        ({"targets": ("a", "b"), "units": ("ms",)}, "1 units for 2 targets"),
        ({"targets": ("a",), "columns": (-3,)}, r"names 1 targets: \('a',\) in columns \(-3,\)"),
        ({"targets": ("a", "a_probability"), "link": "logit"}, "where predictions have a probability"),
    ],
)
def test_a_spec_that_disagrees_is_refused_by_name(spec, message):
    with pytest.raises(ModelError, match=message):
        wb.wrap_model(TinyNet(), wb.ModelSpec(**spec))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("targets", ("qt", "qt"), "expected texts, each once"),
        ("leads", ("I", "I"), "expected texts, each once"),
        ("targets", ("record",), "a cohort uses for something else"),
        ("n_samples", 600.5, "expected a whole number"),
        ("fs", float("inf"), "expected positive numbers"),
        ("start_ms", float("nan"), "expected a number of ms"),
        ("start_ms", "0", "expected a number of ms"),
        ("targets", None, "expected a tuple of texts"),
        ("targets", {"qt", "pr"}, "expected a tuple of texts"),  # a set has no order
        ("targets", ("",), "expected texts, each once"),
        ("leads", (), "spec.leads is empty"),
        ("units", 5, "expected a tuple of texts"),
        ("mean", None, "expected a tuple of numbers"),
        ("columns", {3, 1}, "expected a tuple of whole numbers"),
        ("columns", (1, 1), "expected each column once"),
        ("fs", 0.5, "expected Hz, such as 500"),
        ("layer", 3, "expected a dotted name"),
        ("layer_call", "0", "expected 0 for the first call"),
        ("layer_call", -1, "expected 0 for the first call"),
        ("net", "compact", "expected name and arguments"),
    ],
)
def test_a_spec_that_cannot_be_meant_is_refused(field, value, message):
    with pytest.raises(ModelError, match=message):
        wb.ModelSpec(**{field: value})


def test_numpys_numbers_and_other_micro_signs_are_understood(tmp_path):
    spec = wb.ModelSpec(
        fs=np.float64(500), n_samples=np.int64(600), targets=("a", "b"), units=("uV", "\u03bcV"), layer="features"
    )
    assert spec.units == ("µV", "µV")
    wb.save_model(wb.wrap_model(TinyNet(), spec), tmp_path / "m.safetensors")
    assert wb.load_model(tmp_path / "m.safetensors", TinyNet()).spec == spec
    with pytest.raises(ModelError, match="is a folder; expected a file"):
        wb.save_model(wb.wrap_model(TinyNet(), spec), tmp_path)
    with pytest.raises(TypeError, match="expected a network, an instance"):
        wb.load_model(tmp_path / "m.safetensors", TinyNet)


def test_weights_that_two_layers_share_are_stored(tmp_path):
    net, other = TinyNet(), TinyNet()
    net.again, other.again = net.head, other.head
    wb.save_model(wb.wrap_model(net, wb.ModelSpec(targets=("a", "b"), layer="features")), tmp_path / "m.safetensors")
    loaded = wb.load_model(tmp_path / "m.safetensors", other)
    torch.testing.assert_close(loaded.again.weight, net.head.weight)
