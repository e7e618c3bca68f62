"""Files of weights: `.safetensors` as we write it, with the hash of all that is in it."""

from __future__ import annotations

import json
import struct
import warnings
from collections.abc import Mapping
from random import Random
from typing import Any

import numpy as np

from shared.checkpoints.ours import HASH, fingerprint
from shared.data.inputs import Inputs
from shared.networks.catalog import SPECS
from shared.networks.initial import initial_weights
from shared.training.recipes import get_recipe
from tests.campaigns.fuzz.formats.damage import blind, odd_text
from tests.campaigns.fuzz.formats.texts import dump_json, spoil_json, spoil_text, spoil_value

TINY = SPECS["resnet8_digits"]
SAFETENSORS_NAMES = {"float32": "F32", "float64": "F64", "float16": "F16", "int64": "I64", "int32": "I32"}
SAFETENSORS_NAMES |= {"uint8": "U8", "bool": "BOOL", "int8": "I8", "uint64": "U64"}


def weights() -> dict[str, np.ndarray]:
    """Return the arrays of the smallest network."""
    return initial_weights(TINY, 0)


def texts() -> dict[str, str]:
    """Return what a training run writes beside the weights."""
    inputs = Inputs(data="digits", classes=tuple("0123456789"), image_size=8, mean=(0.3,), std=(0.4,), highest=16)
    training = {
        "framework": "torch",
        "epoch": 1,
        "step": 4,
        "test_accuracy": 0.5,
        "recipe": get_recipe("quick").to_toml(),
    }
    spec = json.dumps(TINY.to_dict())
    return {
        "format": "resnet-twins weights, version 2",
        "spec": spec,
        "inputs": inputs.to_json(),
        "training": json.dumps(training),
    }


def packed(arrays: Mapping[str, np.ndarray], about: Mapping[str, str], *, hashed: bool = True) -> bytes:
    """Return a `.safetensors` file, with the hash of all that is in it."""
    plain = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    header: dict[str, Any] = {"__metadata__": {**about, HASH: fingerprint(plain, about)} if hashed else {**about}}
    data = b""
    for name, array in plain.items():
        end = len(data) + array.nbytes
        dtype = SAFETENSORS_NAMES[array.dtype.name]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [len(data), end]}
        data += array.tobytes()
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def spoil_safetensors(content: bytes, rng: Random, other: bytes) -> bytes:
    """Spoil the header and give it the right length, or the arrays and texts and give them the right hash."""
    (size,) = struct.unpack_from("<Q", content)
    header, data = json.loads(content[8 : 8 + size]), content[8 + size :]
    chance = rng.random()
    if chance < 0.25:
        return blind(content, rng, other)
    if chance < 0.5:
        for _ in range(rng.choice((1, 2))):
            header = spoil_value(header, rng)
        text = dump_json(header, rng)
        return struct.pack("<Q", len(text)) + text + data
    if chance < 0.55:
        empty = {"dtype": "F32", "shape": [rng.choice((0, 2**40)), 0], "data_offsets": [len(data)] * 2}
        header |= {f"x{number}": empty for number in range(40_000)}
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + data
    about = {key: text for key, text in header.pop("__metadata__", {}).items() if key != HASH}
    names = {short: long for long, short in SAFETENSORS_NAMES.items()}
    arrays = {
        name: np.frombuffer(data[slice(*entry["data_offsets"])], names[entry["dtype"]]).reshape(entry["shape"])
        for name, entry in header.items()
    }
    for _ in range(rng.choice((1, 1, 2))):
        if chance < 0.85 and about:
            key = rng.choice(list(about))
            spoil = rng.choice((spoil_json, spoil_json, spoil_text))
            about[key] = spoil(about[key].encode("utf-8", "surrogatepass"), rng, b"{}").decode("utf-8", "replace")
            if rng.random() < 0.1:
                about[odd_text(rng)] = about.pop(key)
        elif arrays:
            arrays = odd_arrays(arrays, rng)
    return packed(arrays, about, hashed=rng.random() < 0.95)


def odd_arrays(arrays: Mapping[str, np.ndarray], rng: Random) -> dict[str, np.ndarray]:
    """Return the arrays with one that is another one, gone, twice, or not finite."""
    spoilt = dict(arrays)
    name = rng.choice(list(spoilt))
    array = spoilt[name]
    chance = rng.random()
    if chance < 0.1:
        del spoilt[name]
    elif chance < 0.2:
        spoilt[odd_text(rng) or "x"] = array
    elif chance < 0.3:
        spoilt[rng.choice(("threads", "optimizer_steps", "scaler/scale", "momentum_buffer/fc.bias"))] = array
    elif chance < 0.5:
        dtype = rng.choice(("float64", "float16", "int64", "uint8", "bool"))
        spoilt[name] = np.nan_to_num(array).astype(dtype)
    elif chance < 0.7:
        spoilt[name] = rng.choice((array.reshape(-1), array[..., None], array[:0], np.zeros((), array.dtype), array.T))
    else:
        value = rng.choice((float("nan"), float("inf"), -1.0, 1e38, 0.0, 1e9))
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            spoilt[name] = np.full_like(array, np.float64(value).astype(array.dtype))
    return spoilt
