"""Weights in and out: strict by default, nothing changes on failure, every format there and back."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time

import numpy as np
import pytest

from shared.base.errors import InputError, WeightsError
from shared.base.files import check_writable, write_text
from shared.checkpoints.conversion import convert
from shared.checkpoints.foreign import canonical_name, read_weights
from shared.checkpoints.ours import read_safetensors, write_safetensors
from shared.networks.canonical import fit, recognise
from shared.networks.catalog import SPECS, get_spec
from shared.networks.initial import initial_weights, lively_weights
from shared.networks.table import weight_shapes

TINY = SPECS["resnet8_digits"]


def same(a, b):
    return set(a) == set(b) and all(np.array_equal(a[name], b[name]) for name in a)


def test_weights_go_in_and_come_out_unchanged(twin):
    for name in ("resnet8_digits", "resnet14_cifar_conv3x3", "preact_resnet18"):
        weights = lively_weights(SPECS[name], 1)
        model = twin.create_model(name)
        report = twin.set_weights(model, weights)
        assert same(twin.get_weights(model), weights)
        assert set(report.loaded) == set(weights)
        assert str(report) == f"{len(weights)} arrays loaded"


def test_what_comes_out_is_a_copy(twin):
    model = twin.create_model(TINY, seed=0)
    twin.get_weights(model)["conv1.weight"][:] = 0
    assert twin.get_weights(model)["conv1.weight"].any()


def test_one_error_lists_everything_that_is_wrong_and_nothing_changes(twin):
    model = twin.create_model(TINY, seed=0)
    before = twin.get_weights(model)
    bad = lively_weights(TINY, 1)
    del bad["conv1.weight"], bad["bn1.bias"]
    bad["layer9.weight"] = np.zeros(3)
    bad["fc.weight"] = bad["fc.weight"].T
    with pytest.raises(WeightsError) as caught:
        twin.set_weights(model, bad)
    for part in ("missing conv1.weight (16, 1, 3, 3)", "missing bn1.bias", "unexpected layer9.weight (3,)"):
        assert part in str(caught.value)
    assert "fc.weight has shape (64, 10), the model wants (10, 64)" in str(caught.value)
    assert same(twin.get_weights(model), before)


def test_strict_false_takes_what_fits_and_reports_the_rest(twin):
    model = twin.create_model(TINY, seed=0)
    before = twin.get_weights(model)
    partial = lively_weights(TINY, 1)
    del partial["conv1.weight"]
    partial["stranger"] = np.zeros(1)
    report = twin.set_weights(model, partial, strict=False)
    assert report.missing == ("conv1.weight",)
    assert report.unexpected == ("stranger",)
    assert "1 not in the file (conv1.weight)" in str(report)
    after = twin.get_weights(model)
    assert np.array_equal(after["conv1.weight"], before["conv1.weight"])
    assert np.array_equal(after["fc.bias"], partial["fc.bias"])
    with pytest.raises(WeightsError, match="none of the 1 arrays fits"):
        twin.set_weights(model, {"x": np.zeros(1)}, strict=False)


def test_a_new_head_is_kept_and_reported(twin):
    model = twin.create_model(TINY, seed=0, num_classes=3)
    before = twin.get_weights(model)
    weights = lively_weights(TINY, 1)
    with pytest.raises(WeightsError, match="only the last layer differs: new_head=True"):
        twin.set_weights(model, weights)
    report = twin.set_weights(model, weights, new_head=True)
    assert set(report.misshapen) == {"fc.weight", "fc.bias"}
    after = twin.get_weights(model)
    assert np.array_equal(after["fc.weight"], before["fc.weight"])
    assert np.array_equal(after["conv1.weight"], weights["conv1.weight"])
    del weights["bn1.weight"]
    with pytest.raises(WeightsError, match=r"missing bn1\.weight"):
        twin.set_weights(model, weights, new_head=True)


@pytest.mark.parametrize("value", [np.array(["a"] * 16), np.zeros(16, complex), np.array([None] * 16)])
def test_arrays_that_are_no_real_numbers_are_refused(twin, value):
    model = twin.create_model(TINY, seed=0)
    with pytest.raises(WeightsError, match=r"bn1\.bias holds .* values"):
        twin.set_weights(model, {**lively_weights(TINY, 0), "bn1.bias": value})


def test_a_model_of_the_other_framework_and_other_mistakes_are_said_in_one_line(torch_twin, keras_twin):
    torch_model, keras_model = torch_twin.create_model(TINY, seed=0), keras_twin.create_model(TINY, seed=0)
    with pytest.raises(InputError, match=r"this is a Keras model .*: use resnet_tf"):
        torch_twin.get_weights(keras_model)
    with pytest.raises(InputError, match=r"this is a PyTorch model .*: use resnet_torch"):
        keras_twin.set_weights(torch_model, {})
    with pytest.raises(InputError, match="the weights are a list; wanted is a dict"):
        torch_twin.set_weights(torch_model, keras_model.get_weights())
    keras_twin.set_weights(keras_model, dict(torch_model.state_dict(keep_vars=True)))  # PyTorch's own tensors do


def test_batch_counters_are_no_weights():
    weights = lively_weights(TINY, 0)
    _, report = fit(weight_shapes(TINY), {**weights, "bn1.num_batches_tracked": np.int64(3)})
    assert not report.unexpected


def test_a_file_saved_by_one_twin_loads_into_the_other(torch_twin, keras_twin, tmp_path):
    for source, target in ((torch_twin, keras_twin), (keras_twin, torch_twin)):
        model = source.create_model(TINY, seed=5)
        source.save_weights(model, tmp_path / "w.safetensors")
        other = target.create_model(TINY, seed=6)
        target.load_weights(other, tmp_path / "w.safetensors")
        assert same(target.get_weights(other), source.get_weights(model))


def test_the_file_carries_the_spec(twin, tmp_path):
    spec = get_spec("resnet20_cifar", num_classes=7, in_channels=1)
    twin.save_weights(twin.create_model(spec), tmp_path / "w.safetensors")
    assert read_safetensors(tmp_path / "w.safetensors")[1] == spec


def test_only_safetensors_are_written_by_save_weights(twin, tmp_path):
    with pytest.raises(InputError, match=r"does not end in \.safetensors"):
        twin.save_weights(twin.create_model(TINY), tmp_path / "w.pth")
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    write_safetensors(path, initial_weights(TINY, 0), TINY)
    good = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_safetensors(path, initial_weights(TINY, 1), TINY)
    assert path.read_bytes() == good
    assert [entry.name for entry in tmp_path.iterdir()] == ["w.safetensors"]


def test_every_network_is_recognised_from_its_shapes():
    for name, spec in SPECS.items():
        shapes = weight_shapes(spec)
        found = [other.name for other in recognise({key: np.empty(shape) for key, shape in shapes.items()})]
        assert name in found
        if not name.startswith("plain") and not name.endswith("_v1"):
            assert found[0] == name


def test_recognition_takes_classes_and_channels_from_the_arrays():
    spec = get_spec("resnet18", num_classes=37, in_channels=1)
    assert recognise(initial_weights(spec, 0)) == [spec]
    assert recognise({"conv1.weight": np.zeros((8, 3, 3, 3))}) == []
    assert recognise({}) == []


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("module.layer1.0.conv1.weight", "layer1.0.conv1.weight"),
        ("module.linear.bias", "fc.bias"),
        ("layer2.0.shortcut.0.weight", "layer2.0.downsample.0.weight"),
        ("conv1_conv.bias", "conv1.bias"),
        ("conv2_block1_0_conv.weight", "layer1.0.downsample.0.weight"),
        ("conv5_block3_2_bn.running_var", "layer4.2.bn2.running_var"),
        ("predictions.weight", "fc.weight"),
        ("layer1.0.bn1.weight", "layer1.0.bn1.weight"),
    ],
)
def test_names_of_others_become_canonical(theirs, ours):
    assert canonical_name(theirs) == ours


def test_every_format_there_and_back_is_bit_identical(torch_twin, keras_twin, tmp_path):
    weights = lively_weights(TINY, 3)
    write_safetensors(tmp_path / "a.safetensors", weights, TINY)
    path = tmp_path / "a.safetensors"
    for number, suffix in enumerate([".pth", ".keras", ".weights.h5", ".pth", ".safetensors"]):
        target = tmp_path / f"b{number}{suffix}"
        spec, _ = convert(path, target)
        assert spec.name == TINY.name
        path = target
    assert same(read_weights(path).arrays, weights)


def test_a_keras_file_says_which_of_two_equal_shapes_it_is(keras_twin, tmp_path):
    keras_twin.write_native(keras_twin.create_model("plain20_cifar"), tmp_path / "plain.keras")
    assert [spec.name for spec in read_weights(tmp_path / "plain.keras").specs] == ["plain20_cifar"]


def test_equal_shapes_are_said_so(torch_twin, tmp_path):
    torch_twin.write_native(torch_twin.create_model("plain20_cifar"), tmp_path / "plain.pth")
    spec, others = convert(tmp_path / "plain.pth", tmp_path / "out.safetensors")
    assert (spec.name, others) == ("resnet20_cifar", ["plain20_cifar"])
    spec, others = convert(tmp_path / "plain.pth", tmp_path / "out.safetensors", model="plain20_cifar")
    assert (spec.name, others) == ("plain20_cifar", [])


def test_a_checkpoint_that_wraps_and_prefixes_its_state_is_read(torch_twin, tmp_path):
    import torch

    model = torch_twin.create_model("resnet20_cifar", seed=0)
    state = {f"module.{name.replace('fc.', 'linear.')}": value for name, value in model.state_dict().items()}
    torch.save({"best_prec1": 91.7, "state_dict": state}, tmp_path / "foreign.th")
    assert same(read_weights(tmp_path / "foreign.th").arrays, torch_twin.get_weights(model))


def test_keras_applications_files_are_read_in_both_forms(keras_twin, tmp_path):
    import keras

    theirs = keras.applications.ResNet50(weights=None, input_shape=(32, 32, 3), classes=5)
    theirs.save(tmp_path / "t.keras")
    theirs.save_weights(tmp_path / "t.weights.h5")
    for name in ("t.keras", "t.weights.h5"):
        found = read_weights(tmp_path / name)
        assert [(spec.name, spec.num_classes) for spec in found.specs] == [("resnet50_keras", 5)]
    kernel = np.asarray(theirs.get_layer("conv3_block1_0_conv").kernel)
    assert np.array_equal(found.arrays["layer2.0.downsample.0.weight"], kernel.transpose(3, 2, 0, 1))


@pytest.mark.slow
@pytest.mark.parametrize("depth", [101, 152])
def test_the_deep_keras_applications_are_recognised_too(keras_twin, tmp_path, depth):
    import keras

    theirs = getattr(keras.applications, f"ResNet{depth}")(weights=None)
    theirs.save_weights(tmp_path / "t.weights.h5")
    assert [spec.name for spec in read_weights(tmp_path / "t.weights.h5").specs] == [f"resnet{depth}_keras"]


def test_the_old_h5_form_of_the_official_imagenet_weights_is_read(tmp_path):
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    spec = get_spec("resnet50_keras", num_classes=3, input_size=32)
    weights = initial_weights(spec, 0)
    back = {"weight": "gamma:0", "bias": "beta:0", "running_mean": "moving_mean:0", "running_var": "moving_variance:0"}
    layers: dict[str, dict[str, np.ndarray]] = {}
    for name, array in weights.items():
        layer, suffix = name.rsplit(".", 1)
        if array.ndim == 4:
            layers.setdefault(layer, {})["kernel:0"] = array.transpose(2, 3, 1, 0)
        elif array.ndim == 2:
            layers.setdefault(layer, {})["kernel:0"] = array.T
        else:
            norm = ".bn" in layer or layer == "bn1" or layer.endswith("downsample.1")
            layers.setdefault(layer, {})[back[suffix] if norm else "bias:0"] = array

    def theirs(layer: str) -> str:
        if layer == "fc":
            return "predictions"
        if layer in ("conv1", "bn1"):
            return f"conv1_{'conv' if layer == 'conv1' else 'bn'}"
        stage, block, *rest = layer.removeprefix("layer").split(".")
        kind = "bn" if rest[0].startswith("bn") or (rest[-1] == "1" and rest[0] == "downsample") else "conv"
        number = "0" if rest[0] == "downsample" else rest[0][-1]
        return f"conv{int(stage) + 1}_block{int(block) + 1}_{number}_{kind}"

    with h5py.File(tmp_path / "old.h5", "w") as file:
        file.attrs["layer_names"] = [theirs(layer).encode() for layer in layers]
        for layer, arrays in layers.items():
            group = file.create_group(theirs(layer))
            group.attrs["weight_names"] = [key.encode() for key in arrays]
            for key, array in arrays.items():
                group[key] = array
    assert same(read_weights(tmp_path / "old.h5").arrays, weights)


class Evil:
    def __reduce__(self):
        return (os.system, ("touch pwned",))


def test_a_pickle_that_holds_more_than_tensors_is_refused_and_not_run(torch_twin, tmp_path, monkeypatch):
    import torch

    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"a": torch.zeros(1)}, "note": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(WeightsError, match="is refused"):
        read_weights(tmp_path / "evil.pth")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".keras", ".weights.h5"])
@pytest.mark.parametrize("damage", ["truncated", "empty", "text"])
def test_a_damaged_file_is_a_one_line_error_and_nothing_is_written(torch_twin, keras_twin, tmp_path, suffix, damage):
    good = tmp_path / f"good{suffix}"
    write_safetensors(tmp_path / "w.safetensors", initial_weights(TINY, 0), TINY)
    convert(tmp_path / "w.safetensors", good)
    content = {"truncated": good.read_bytes()[:9000], "empty": b"", "text": b"hello, I am no weights file\n"}[damage]
    bad = tmp_path / f"bad{suffix}"
    bad.write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        convert(bad, tmp_path / "out.safetensors")
    assert "\n" not in str(caught.value)
    assert str(bad) in str(caught.value)
    assert not (tmp_path / "out.safetensors").exists()


def test_metadata_that_is_nonsense_is_refused(tmp_path):
    from safetensors.numpy import save_file

    for spec in ("no json", json.dumps({"name": "x"}), json.dumps([1])):
        save_file({"a": np.zeros(1)}, tmp_path / "odd.safetensors", {"spec": spec})
        with pytest.raises(WeightsError, match="carries a spec that cannot be read"):
            read_weights(tmp_path / "odd.safetensors")


def test_weights_that_do_not_fit_their_own_metadata_are_refused(torch_twin, tmp_path):
    write_safetensors(tmp_path / "odd.safetensors", initial_weights(TINY, 0), SPECS["resnet20_cifar"])
    with pytest.raises(WeightsError, match="do not fit"):
        convert(tmp_path / "odd.safetensors", tmp_path / "out.pth")
    assert not (tmp_path / "out.pth").exists()


def test_a_folder_a_missing_file_and_an_unknown_ending_are_refused(tmp_path):
    with pytest.raises(InputError, match="is a folder"):
        read_weights(tmp_path)
    with pytest.raises(InputError, match="there is no file"):
        read_weights(tmp_path / "nope.pth")
    (tmp_path / "x.foo").write_text("")
    with pytest.raises(InputError, match=r"ends in '\.foo'; readable are"):
        read_weights(tmp_path / "x.foo")
    shutil.copy(tmp_path / "x.foo", tmp_path / "x.safetensors")
    with pytest.raises(InputError, match=r"allowed are \.safetensors, \.pth"):
        convert(tmp_path / "x.safetensors", tmp_path / "out.onnx")


def test_the_real_cifar_checkpoint_is_read(torch_twin, real_data):
    path = real_data / "checkpoints" / "resnet20-cifar10.th"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    found = read_weights(path)
    assert found.specs[0].name == "resnet20_cifar"
    assert len(found.arrays) == len(weight_shapes(found.specs[0]))


@pytest.mark.parametrize("year", [1970, 1979, 2108])
def test_a_clock_that_no_zip_archive_knows_is_said_before_anything_is_written(keras_twin, tmp_path, monkeypatch, year):
    monkeypatch.setattr(time, "localtime", lambda *seconds: time.struct_time((year, 1, 3, 0, 0, 0, 5, 3, 0)))
    model = keras_twin.create_model("resnet8_digits")
    with pytest.raises(InputError, match=rf"the clock of this computer says {year}.* or write \.weights\.h5"):
        keras_twin.write_native(model, tmp_path / "w.keras")
    keras_twin.write_native(model, tmp_path / "w.weights.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["w.weights.h5"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows counts the whole path")
@pytest.mark.parametrize("name", ["a" * 252 + ".md", "中" * 84 + ".md"], ids=["Latin", "Chinese"])
def test_a_file_may_have_the_longest_name_that_the_system_allows(tmp_path, name):
    write_text(tmp_path / name, "text")
    assert (tmp_path / name).read_text() == "text"
    with pytest.raises(InputError, match="a file's name has 255 at most"):
        check_writable(tmp_path / f"aa{name}")
