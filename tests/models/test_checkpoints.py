"""Weights as people save them: every file here is written by torch or safetensors themselves."""

import argparse
import collections
import copy
import datetime
import json
import pathlib
import pickle
import re
import types
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import TinyNet
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

import ecgwb as wb
from ecgwb.models.opening import Unread
from ecgwb.models.running import unwrapped, where_it_failed
from ecgwb.models.spec import ModelError, copy_of, run, spec_of

SPEC = wb.ModelSpec(targets=("a", "b"), units=("ms", "ms"), layer="features")


class NormNet(TinyNet):
    """With batch normalisation, so with buffers, too."""

    def __init__(self, n_outputs=2):
        super().__init__(n_outputs)
        self.norm = nn.BatchNorm1d(6)

    def forward(self, x):
        return self.head(self.norm(self.features(x / 500).mean(dim=2)))


def trained(module=None, by=0.5):
    """A network whose weights are not those of a new one."""
    module = NormNet() if module is None else module
    with torch.no_grad():
        for p in module.parameters():
            p += by
    return module.eval()


def same(loaded, net):
    x = torch.randn(3, 8, 600) * 300
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), net(x))


def behind(prefix, state):
    return {prefix + k: v for k, v in state.items()}


def some_metadata():
    """What people store beside weights."""
    return {
        "epoch": 3, "loss": np.float64(0.1), "rng": np.random.default_rng(0), "counts": np.arange(3),
        "args": argparse.Namespace(lr=1e-3, folder=pathlib.PurePosixPath("runs")), "path": pathlib.Path("runs/1"),
        "when": datetime.datetime(2026, 1, 2), "took": datetime.timedelta(hours=1), "best": {np.int64(3)}, "a": 1j,
        "seen": collections.defaultdict(list, {"a": [1]}), "queue": collections.deque([1, 2]),
        "torch": torch.__version__, "dtype": np.float32,
        "more": types.SimpleNamespace(a=1), "range": range(3), "device": torch.device("cpu"), "dims": torch.Size([1]),
        "nets": frozenset({"a"}), "names": np.array(["a", "b"], dtype=object),
    }  # fmt: skip


# ---------------------------------------------------------------- what is found


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "net.", "_orig_mod.", "module.model.", "model._orig_mod."])
@pytest.mark.parametrize("key", ["", "model_state_dict", "state_dict", "model_state", "net", "whatever"])
def test_weights_are_found_under_any_key_and_prefix(key, prefix, tmp_path):
    net = trained()
    state = behind(prefix, net.state_dict())
    optimizer = {"state": {0: {"exp_avg": torch.ones(3)}}}
    held = {key: state, "epoch": 3, "optimizer_state_dict": optimizer} if key else state
    torch.save(held, tmp_path / "m.pt")
    same(wb.load_model(tmp_path / "m.pt", NormNet(), SPEC), net)


@pytest.mark.parametrize("key", ["weights", "params", "network", "model", "ema", "ema_state_dict", "model_ema"])
@pytest.mark.parametrize("zipped", [True, False])
def test_both_formats_of_torch_are_opened_with_what_else_was_stored(key, zipped, tmp_path):
    net = trained()
    held = {key: {"state_dict": net.state_dict(), "decay": 0.99} if "ema" in key else net.state_dict()}
    criterion = {"criterion": nn.BCEWithLogitsLoss()} if zipped else {}  # the old format stores a layer's source, too
    torch.save(some_metadata() | criterion | held, tmp_path / "m.ckpt", _use_new_zipfile_serialization=zipped)
    same(wb.load_model(tmp_path / "m.ckpt", NormNet(), SPEC), net)
    assert not [v for v in torch.serialization.get_safe_globals() if isinstance(v, type) and issubclass(v, Unread)]


def test_a_real_optimiser_scheduler_and_scaler_do_no_harm(tmp_path):
    net = trained()
    optimizer = torch.optim.AdamW(net.parameters())
    net(torch.randn(4, 8, 600)).sum().backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=10)
    held = {"model": net.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
    torch.save(held | {"whole": optimizer}, tmp_path / "m.pt")
    same(wb.load_model(tmp_path / "m.pt", NormNet(), SPEC), net)


def test_weights_within_a_defaultdict_or_a_tuple_are_found(tmp_path):
    net = trained()
    for held in (collections.defaultdict(list, net.state_dict()), (3, net.state_dict())):
        torch.save(held, tmp_path / "m.pt")
        same(wb.load_model(tmp_path / "m.pt", NormNet(), SPEC), net)


def test_safetensors_of_others_are_opened(tmp_path):
    net = trained()
    save_file(behind("model.", net.state_dict()), str(tmp_path / "m.safetensors"), metadata={"format": "pt"})
    same(wb.load_model(tmp_path / "m.safetensors", NormNet(), SPEC), net)


def test_of_weights_and_their_average_those_as_trained_are_taken_and_it_is_said(tmp_path):
    net, ema = trained(), trained(by=0.2)
    several = [
        ({"state_dict": net.state_dict(), "state_dict_ema": ema.state_dict()}, "state_dict_ema"),
        ({"model_ema": behind("module.", ema.state_dict()), "model": net.state_dict()}, "model_ema"),
        (behind("online_model.", net.state_dict()) | behind("ema_model.", ema.state_dict()), "ema_model"),
        (net.state_dict() | behind("ema_model.", ema.state_dict()), "ema_model"),
    ]
    for held, key in several:
        torch.save(held, tmp_path / "m.pt")
        with pytest.warns(UserWarning, match=rf"took .* and not '{key}', which fit, too.*key='{key}'"):
            same(wb.load_model(tmp_path / "m.pt", NormNet(), SPEC), net)
        same(wb.load_model(tmp_path / "m.pt", NormNet(), SPEC, key=key), ema)
    with pytest.raises(ModelError, match="no weights under key='swa'; it has ema_model"):
        wb.load_model(tmp_path / "m.pt", NormNet(), SPEC, key="swa")


def test_two_sets_that_no_name_tells_apart_are_refused_until_one_is_chosen(tmp_path):
    net, other = trained(), trained(by=0.2)
    torch.save({"first": net.state_dict(), "second": other.state_dict()}, tmp_path / "m.pt")
    with pytest.raises(ModelError, match="2 sets of weights that fit; say which: key='first' or 'second'"):
        wb.load_model(tmp_path / "m.pt", NormNet(), SPEC)
    same(wb.load_model(tmp_path / "m.pt", NormNet(), SPEC, key="second"), other)
    torch.save({"first": net.state_dict(), "second": net.state_dict()}, tmp_path / "m.pt")
    same(wb.load_model(tmp_path / "m.pt", NormNet(), SPEC), net)
    torch.save([net.state_dict(), other.state_dict()], tmp_path / "m.pt")
    same(wb.load_model(tmp_path / "m.pt", NormNet(), SPEC, key=1), other)


def test_of_lightning_loss_weights_are_left_out_with_one_warning(tmp_path):
    net = trained()
    state = behind("model.", net.state_dict()) | {
        "criterion.weight": torch.ones(2),
        "loss_fn.pos_weight": torch.ones(2),
    }
    held = {"epoch": 1, "pytorch-lightning_version": "2.5", "state_dict": state, "hyper_parameters": some_metadata()}
    torch.save(held, tmp_path / "m.ckpt")
    with pytest.warns(UserWarning, match=r"no weights of this network: criterion.weight, loss_fn.pos_weight$") as said:
        same(wb.load_model(tmp_path / "m.ckpt", NormNet(), SPEC), net)
    assert len(said) == 1
    torch.save(net.state_dict() | {"criterion.pos_weight": torch.ones(2)}, tmp_path / "m.ckpt")
    with pytest.warns(UserWarning, match="no weights of this network: criterion.pos_weight"):
        same(wb.load_model(tmp_path / "m.ckpt", NormNet(), SPEC), net)


def test_averaged_models_old_batch_norms_and_profilers_counts_pass_in_silence(tmp_path):
    net = trained()
    torch.save(AveragedModel(net).state_dict(), tmp_path / "m.pt")
    same(wb.load_model(tmp_path / "m.pt", NormNet(), SPEC), net)
    old = {k: v for k, v in net.state_dict().items() if "num_batches" not in k} | {"head.total_ops": torch.zeros(1)}
    torch.save(old, tmp_path / "m.pt")
    same(wb.load_model(tmp_path / "m.pt", NormNet(), SPEC), net)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_are_taken(dtype, tmp_path):
    torch.save(trained().to(dtype).state_dict(), tmp_path / "m.pt")
    same(wb.load_model(tmp_path / "m.pt", NormNet(), SPEC), trained().to(dtype).float())


@pytest.mark.parametrize("place", ["cuda:0", "mps"])
def test_weights_that_were_on_a_gpu_are_opened_without_one(place, tmp_path):
    net = trained()
    torch.save(net.state_dict(), tmp_path / "here.pt")
    there = b"X" + len(place).to_bytes(4, "little") + place.encode()
    with zipfile.ZipFile(tmp_path / "here.pt") as old, zipfile.ZipFile(tmp_path / "m.pt", "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b"X\x03\x00\x00\x00cpu", there))
    same(wb.load_model(tmp_path / "m.pt", NormNet(), SPEC), net)


def test_weight_norm_in_its_old_form_is_taken_by_todays(tmp_path):
    net, new = trained(), NormNet()
    with pytest.warns(FutureWarning, match="weight_norm"):
        nn.utils.weight_norm(net.head)
    nn.utils.parametrizations.weight_norm(new.head)
    torch.save(net.state_dict(), tmp_path / "m.pt")
    same(wb.load_model(tmp_path / "m.pt", new, SPEC), net)


# ---------------------------------------------------------------- what is refused


def missing(state):
    del state["head.bias"]


def too_many(state):
    state["head.again"] = torch.ones(2)


def another_head(state):
    state["head.weight"], state["head.bias"] = torch.ones(71, 6), torch.ones(71)


def other_shapes(state):
    for k in ("features.0.weight", "features.2.weight", "head.weight", "head.bias"):
        state[k] = torch.ones(3, 3)


def whole_numbers(state):
    state["head.weight"] = torch.ones(2, 6, dtype=torch.int8)


def without_values(state):
    state["head.weight"] = torch.ones(2, 6, device="meta")


def sparse(state):
    state["head.weight"] = torch.eye(2, 6).to_sparse()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_values, "weights do not fit the network"),
        (sparse, "weights do not fit the network"),
        (missing, r"head.bias is not in the file and \(2,\) in the network"),
        (too_many, r"head.again is \(2,\) in the file and not in the network"),
        (another_head, r"all weights fit but those of 'head', which has 71 outputs in the file and 2 in the network"),
        (other_shapes, r"features.0.weight is \(3, 3\) in the file and \(5, 8, 7\) .*head.weight.*; and 1 more$"),
        (whole_numbers, r"head.weight is \(2, 6\) torch.int8 in the file"),
    ],
)
@pytest.mark.parametrize("place", ["", "state_dict"])
def test_weights_that_do_not_fit_are_refused_and_the_network_is_left_alone(change, message, place, tmp_path):
    state, module = trained().state_dict(), NormNet()
    change(state)
    torch.save({place: behind("model.", state), "epoch": 3} if place else state, tmp_path / "m.pt")
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(ModelError, match=message.replace(" fit but", r" fit( \(under .*\))? but")):
        wb.load_model(tmp_path / "m.pt", module, SPEC)
    torch.testing.assert_close(dict(module.state_dict()), dict(before))


class Evil:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (exec, (f"open({str(self.mark)!r}, 'w').close()",))


class Called:
    """Names a harmless class of those that may stand in a file, and calls it with an evil argument."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (collections.OrderedDict, ([(Evil(self.mark), 1)],))


@pytest.mark.parametrize("evil", [Evil, Called])
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("zipped", [True, False])
def test_what_a_pickle_would_run_is_not_run_wherever_it_stands(evil, protocol, zipped, tmp_path):
    mark, state = tmp_path / "ran", trained().state_dict()
    helds = [evil(mark), {"state_dict": state, "x": evil(mark)}, state | {"x": evil(mark)}, {evil(mark): state}]
    for held in helds:
        kept = {"pickle_protocol": protocol, "_use_new_zipfile_serialization": zipped}
        torch.save(held, tmp_path / "m.pt", **kept)
        with pytest.raises(ModelError, match=r"is refused.*builtins.exec.*runs code when opened"):
            wb.load_model(tmp_path / "m.pt", NormNet(), SPEC)
        (tmp_path / "raw.pkl").write_bytes(pickle.dumps(held, protocol))
        with pytest.raises(ModelError, match=r"is refused|cannot be read"):
            wb.load_model(tmp_path / "raw.pkl", NormNet(), SPEC)
    assert not mark.exists()


class Loud(argparse.Namespace):
    """Would say so if it were made."""

    def __setstate__(self, state):
        pytest.fail("a class of the file was used")


def test_classes_that_a_file_names_are_never_used_even_where_they_were_allowed(tmp_path, monkeypatch):
    net = trained()
    torch.save({"state_dict": net.state_dict(), "args": Loud(a=1)}, tmp_path / "m.pt")
    with torch.serialization.safe_globals([Loud]), pytest.raises(ModelError, match=r"needs test_checkpoints.Loud"):
        wb.load_model(tmp_path / "m.pt", NormNet(), SPEC)
    torch.save({"state_dict": net.state_dict(), "args": argparse.Namespace(a=1)}, tmp_path / "m.pt")
    monkeypatch.setattr(argparse, "Namespace", Loud)
    with torch.serialization.safe_globals([Evil]):
        same(wb.load_model(tmp_path / "m.pt", NormNet(), SPEC), net)
        assert Evil in torch.serialization.get_safe_globals()


def test_a_whole_pickled_network_is_refused_with_what_to_do(tmp_path):
    for net, name in ((trained(), "test_checkpoints.NormNet"), (nn.Sequential(nn.Linear(2, 2)), "Sequential")):
        for zipped in (True, False):
            torch.save(net, tmp_path / "m.pt", _use_new_zipfile_serialization=zipped)
            with pytest.raises(
                ModelError, match=rf"whole network was pickled.*{name}.*torch.save\(kept.state_dict\(\)"
            ):
                wb.load_model(tmp_path / "m.pt", NormNet(), SPEC)


def test_files_of_other_kinds_say_what_to_do(tmp_path):
    files = {
        "m.onnx": (b"\x08\x07", r"ONNX.*onnx2torch.convert\(path\).*wrap_model"),
        "m.keras": (b"PK", r"Keras.*KERAS_BACKEND=torch.*keras.saving.load_model\(path\)"),
        "m.h5": (b"\x89HDF\r\n\x1a\n", "Keras"),
        "m.pt": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        "n.pt": (b"<!DOCTYPE html><html>", "a web page"),
        "o.pt": (b"", r"cannot be read.*Is it whole\?"),
        "p.pt": (b"PK\x03\x04 half a file", r"cannot be read.*Is it whole\?"),
    }
    for name, (content, message) in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelError, match=message):
            wb.load_model(tmp_path / name, NormNet(), SPEC)
    with pytest.raises(ModelError, match=r"is a folder; expected a file, such as m.h5 or m.keras"):
        wb.load_model(tmp_path, NormNet(), SPEC)
    torch.save({"epoch": 3, "lr": 0.1}, tmp_path / "m.pt")
    with pytest.raises(ModelError, match="holds a dict of epoch, lr; expected a state dict"):
        wb.load_model(tmp_path / "m.pt", NormNet(), SPEC)


# ---------------------------------------------------------------- tied weights, wrapped networks


class TiedNet(TinyNet):
    def __init__(self):
        super().__init__()
        self.again = nn.Linear(6, 2)
        self.again.weight = self.head.weight

    def forward(self, x):
        a = self.features(x / 500).mean(dim=2)
        return self.head(a) + self.again(a)


def test_tied_weights_are_stored_once_and_tied_again(tmp_path):
    net = wb.wrap_model(trained(TiedNet()), SPEC)
    wb.save_model(net, tmp_path / "m.safetensors")
    assert "again.weight" not in load_file(tmp_path / "m.safetensors")
    loaded = wb.load_model(tmp_path / "m.safetensors", TiedNet())
    assert loaded.again.weight is loaded.head.weight
    same(loaded, net)
    untied = TiedNet()
    untied.again.weight = nn.Parameter(torch.zeros(2, 6))
    same(wb.load_model(tmp_path / "m.safetensors", untied), net)
    for first, second in (("head.weight", "again.weight"), ("again.weight", "head.weight")):
        state = net.state_dict()
        del state[first]
        torch.save(state, tmp_path / "m.pt")
        same(wb.load_model(tmp_path / "m.pt", TiedNet(), SPEC), net)
        torch.save(net.state_dict() | {second: torch.zeros(2, 6)}, tmp_path / "m.pt")
        with pytest.raises(ModelError, match="are one tensor in the network and two in the file"):
            wb.load_model(tmp_path / "m.pt", TiedNet(), SPEC)


@pytest.mark.parametrize("wrapping", [torch.compile, nn.DataParallel, AveragedModel])
def test_a_wrapped_network_is_the_network_itself(wrapping, tmp_path):
    net = trained()
    outside = wrapping(net)
    assert type(unwrapped(outside)) is NormNet
    model = wb.wrap_model(outside, SPEC)
    assert type(model) is NormNet
    assert spec_of(wrapping(model)) == SPEC
    wb.save_model(wrapping(model), tmp_path / "m.safetensors")
    assert set(load_file(tmp_path / "m.safetensors")) == set(net.state_dict())
    same(wb.load_model(tmp_path / "m.safetensors", NormNet()), net)
    torch.save(outside.state_dict(), tmp_path / "m.pt")
    loaded = wb.load_model(tmp_path / "m.pt", wrapping(NormNet()), SPEC)
    assert type(loaded) is NormNet
    same(loaded, net)


def test_wrappings_of_single_layers_make_no_other_names(tmp_path):
    net, plain = trained(), NormNet()
    net.features = torch.compile(net.features)
    torch.save(net.state_dict(), tmp_path / "m.pt")
    loaded = wb.load_model(tmp_path / "m.pt", plain, SPEC)
    torch.testing.assert_close(loaded.features[0].weight, net.features._orig_mod[0].weight)
    torch.save(plain.state_dict(), tmp_path / "m.pt")
    parallel = NormNet()
    parallel.features = nn.DataParallel(parallel.features)
    same(wb.load_model(tmp_path / "m.pt", parallel, SPEC), plain)


# ---------------------------------------------------------------- a network's own "spec"; specs that no file can hold


class SpecModule(TinyNet):
    def __init__(self):
        super().__init__()
        self.spec = nn.Identity()


class SpecParameter(TinyNet):
    def __init__(self):
        super().__init__()
        self.spec = nn.Parameter(torch.ones(2))


class SpecProperty(TinyNet):
    @property
    def spec(self):
        return "a spectrogram"


@pytest.mark.parametrize("make", [SpecModule, SpecParameter, SpecProperty])
def test_a_networks_own_spec_is_no_clash(make, tmp_path, ludb):
    net, ours = make(), type(make().spec)
    model = wb.wrap_model(net, SPEC)
    assert type(model.spec) is ours
    assert spec_of(model) == spec_of(copy.deepcopy(model)) == SPEC
    wb.save_model(model, tmp_path / "m.safetensors")
    again = wb.load_model(tmp_path / "m.safetensors", make())
    few = ludb.isel(record=slice(3))
    np.testing.assert_array_equal(wb.predict(again, few)["a"], wb.predict(model, few)["a"])
    wb.wrap_model(again, replace(SPEC, targets=("c", "d")))
    assert spec_of(again).targets == ("c", "d")


def test_a_copy_keeps_the_spec_where_the_networks_own_copying_drops_it(ludb):
    few = ludb.isel(record=slice(3))
    graph = wb.wrap_model(torch.fx.symbolic_trace(TinyNet().eval()), replace(SPEC, layer="features.3"))
    for model in (graph, wb.wrap_model(SpecModule(), SPEC)):
        copied = copy_of(model)
        assert spec_of(copied) is spec_of(model)
        assert copied.head.weight is not model.head.weight
        assert wb.ecgradcam(model, few, "a").notnull().all()
        assert wb.attribute(model, few, "guided_gradcam", "a").notnull().all()


def test_a_spec_is_found_and_changed_under_its_public_name(tiny):
    assert spec_of(copy.deepcopy(tiny)) == tiny.spec
    tiny.spec = replace(tiny.spec, targets=("c", "d"))
    assert spec_of(tiny).targets == ("c", "d")


def test_a_spec_that_holds_a_function_is_not_stored(tmp_path):
    model = wb.wrap_model(TinyNet(), replace(SPEC, output=lambda y: y))
    with pytest.raises(ModelError, match=r"spec.output holds something .* cannot be stored .*function"):
        wb.save_model(model, tmp_path / "m.safetensors")
    assert not list(tmp_path.iterdir())


def test_every_other_field_of_a_spec_comes_back(tmp_path):
    spec = replace(
        SPEC, normalise="constants", mean=(0.0,) * 8, sd=500.0, pad="end", link="logit", units=(), output=None,
        layer_axes=("record", "channel", "position"), trained_on={"mine": ["p1"]},
    )  # fmt: skip
    wb.save_model(wb.wrap_model(TinyNet(), spec), tmp_path / "m.safetensors")
    assert spec_of(wb.load_model(tmp_path / "m.safetensors", TinyNet())) == spec


def test_an_output_named_step_by_step_comes_back(tmp_path):
    class Nested(TinyNet):
        def forward(self, x):
            return {"heads": [super().forward(x)]}

    spec = replace(SPEC, output=("heads", 0), layer_call=np.int64(0))
    wb.save_model(wb.wrap_model(Nested(), spec), tmp_path / "m.safetensors")
    assert spec_of(wb.load_model(tmp_path / "m.safetensors", Nested())) == spec


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"ecgwb_tied": '{"head.weight": "nothing"}'}, "Is it whole?"),
        ({"ecgwb_tied": "[no json"}, "Is it whole?"),
        ({"ecgwb_spec": '{"targets": ["a"], "net": {"name": "compact", "bogus": 1}}'}, "'compact' cannot be made"),
    ],
)
def test_damaged_descriptions_are_refused_in_words(metadata, message, tmp_path):
    save_file(TinyNet().state_dict(), tmp_path / "m.safetensors", metadata=metadata)
    own = (TinyNet(), SPEC) if "ecgwb_tied" in metadata else ()
    with pytest.raises(ModelError, match=re.escape(message)):
        wb.load_model(tmp_path / "m.safetensors", *own)


def test_a_stored_spec_is_json(tiny, tmp_path):
    wb.save_model(tiny, tmp_path / "m.safetensors")
    header = (tmp_path / "m.safetensors").read_bytes()
    size = int.from_bytes(header[:8], "little")
    assert json.loads(json.loads(header[8 : 8 + size])["__metadata__"]["ecgwb_spec"])["targets"] == ["a", "b"]


# ---------------------------------------------------------------- errors inside a network


class Fails(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = TinyNet(), nn.Sequential(nn.Linear(2, 3), nn.Linear(4, 1))

    def forward(self, x, mode="plain"):
        if x.shape[0] == 7:
            raise KeyError("seven")
        return self.second(self.first(x))


def test_an_error_inside_a_network_is_its_own(tiny):
    net = Fails()
    with pytest.raises(ModelError, match=r"RuntimeError: .*in layer 'second.1' \(Linear\), which got \(5, 3\)$"):
        run(net, torch.zeros(5, 8, 600))
    with pytest.raises(
        ModelError, match=r"KeyError: 'seven'; in the network itself \(Fails\), which got \(7, 8, 600\)$"
    ):
        run(net, torch.zeros(7, 8, 600))
    with pytest.raises(ModelError, match=r"'first.features.0' \(Conv1d\), which got \(1, 3, 600\) float64"):
        run(net.double(), torch.zeros(1, 3, 600, dtype=torch.float64))
    assert run(tiny, torch.zeros(5, 8, 600)).shape == (5, 2)

    def ours(_module, _inputs, _output):
        raise ModelError("of a hook")

    with tiny.head.register_forward_hook(ours), pytest.raises(ModelError, match=r"^of a hook$"):
        run(tiny, torch.zeros(1, 8, 600))


def test_long_messages_are_cut_and_errors_elsewhere_have_the_networks_input():
    text = where_it_failed(Fails(), torch.zeros(2, 8, 600), ValueError("x" * 5000))
    assert len(text) < 800
    assert text.endswith("which got (2, 8, 600)")


# ---------------------------------------------------------------- TorchScript, torch.export


@pytest.mark.filterwarnings("ignore:.torch.jit")
@pytest.mark.parametrize("make", [torch.jit.script, lambda net: torch.jit.trace(net, torch.zeros(2, 8, 600))])
def test_torchscript_runs_and_says_what_it_lacks(make, tiny, ludb, tmp_path):
    few, plain = ludb.isel(record=slice(4)), replace(SPEC, layer="")
    make(TinyNet().eval()).save(tmp_path / "m.pt")
    with pytest.raises(ModelError, match=r"TorchScript. Open it yourself, module = torch.jit.load\(path\)"):
        wb.load_model(tmp_path / "m.pt", TinyNet(), SPEC)
    for scripted in (make(TinyNet().eval()), torch.jit.load(tmp_path / "m.pt")):
        model = wb.wrap_model(scripted, plain)
        assert spec_of(model) == plain
        np.testing.assert_allclose(wb.predict(model, few)["a"], wb.predict(tiny, few)["a"], atol=1e-5)
        maps, ours = (wb.attribute(m, few, "saliency", "a") for m in (model, tiny))
        np.testing.assert_allclose(maps, ours, atol=1e-6)
        layer = r"its layers cannot be read. Take attention by edits"
        with pytest.raises(ModelError, match=layer):
            wb.wrap_model(scripted, SPEC)
        with pytest.raises(ModelError, match=layer):
            wb.ecgradcam(model, few, layer="features")
        with pytest.raises(ModelError, match=layer):
            wb.attribute(model, few, method="deeplift")
        wb.save_model(model, tmp_path / "weights.safetensors")
        same(wb.load_model(tmp_path / "weights.safetensors", TinyNet(), SPEC), tiny)


def test_a_program_of_torch_export_says_how_it_runs(tiny, tmp_path):
    program = torch.export.export(TinyNet().eval(), (torch.zeros(2, 8, 600),))
    torch.export.save(program, tmp_path / "m.pt2")
    (tmp_path / "m.pt").write_bytes((tmp_path / "m.pt2").read_bytes())
    for name in ("m.pt2", "m.pt"):
        with pytest.raises(ModelError, match=r"torch.export.load\(path\).module\(\)"):
            wb.load_model(tmp_path / name, TinyNet(), SPEC)
