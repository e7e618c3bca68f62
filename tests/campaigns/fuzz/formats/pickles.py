"""Checkpoints of PyTorch, of today and from before version 1.6, and ways to spoil what they hold and their pickles."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any
from unittest.mock import patch

from tests.campaigns.fuzz.formats.damage import VALUES, blind, odd_text
from tests.campaigns.fuzz.formats.packed import spoil_zip
from tests.campaigns.fuzz.formats.weights import weights

#: Pieces of a pickle that build something, or make a reader do so, and leave the stack as it was.
PICKLE_PIECES = (
    b"c__builtin__\nbytearray\n\x8a\x05\x00\xe4\x0bT\x02\x85R0",  # 10**10 bytes
    b"cbuiltins\nbytearray\nJ\x00\x94\x35\x77\x85R0",
    b"cposix\nsystem\nX\x04\x00\x00\x00true\x85R0",
    b"cbuiltins\neval\nX\x01\x00\x00\x001\x85R0",
    b"ccollections\nOrderedDict\n)R0" * 20_000,
    b"ccollections\nCounter\n)R0",
    b"ctorch\nSize\n(K\x01K\x02tR0",
    b"ctorch\nload\nX\x01\x00\x00\x00x\x85R0",
    b"ctorch.serialization\n_get_layout\nX\x03\x00\x00\x00abc\x85R0",
    b"ctorch._utils\n_rebuild_parameter\n(N\x88NtR0",
    b"ctorch._tensor\n_rebuild_from_type_v2\n(NNNNtR0",
    b"ctorch\nfloat32\n0",
    b"ctorch.storage\nUntypedStorage\nJ\x00\x94\x35\x77\x85R0",
    b"ctorch\nFloatStorage\nJ\x00\x94\x35\x77\x85R0",
    b"cnumpy\nndarray\n)R0",
    b"cnumpy.core.multiarray\n_reconstruct\n)R0",
    b"(" * 200_000 + b"1" * 200_000,
    b"]" * 300 + b"0" * 300,
    b"K\x01r\xff\xff\xff\xff0",
    b"K\x01r\xff\xff\xff\x0f0",
    b"X\xff\xff\xff\x7f",
    b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\x8e\xff\xff\xff\xff\x00\x00\x00\x00",
    b"\x95\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\x8b\xff\xff\xff\x7f",
    b"h\xff",
    b"j\xff\xff\xff\xff",
    b"K\x01Q0",
    b"X\x01\x00\x00\x00xQ0",
    b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuJ\x00\x94\x35\x77tQ0",
    b"2" * 1000 + b"0" * 1000,
    b"\x80\xff",
    b"\x82\x01",
    b"I" + b"9" * 100_000 + b"\n0",
    b"L" + b"9" * 5000 + b"L\n0",
    b"F1e999\n0",
    b"S'" + b"x" * 10 + b"'\n0",
    b"}K\x01K\x02s0",
    b"N}bN0",
)


def torch_content(rng: Random | None = None) -> Any:
    """Return what a PyTorch checkpoint holds: a `state_dict`, or with `rng` one with something odd in it."""
    import torch

    state: dict[Any, Any] = {name: torch.from_numpy(array.copy()) for name, array in weights().items()}
    if rng is None:
        return state
    name = rng.choice(list(state))
    tensor = state[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        chance = rng.random()
        if chance < 0.7:
            state[name] = odd_entry(tensor, rng)
        elif chance < 0.8:
            state[rng.choice((odd_text(rng), 1, None, (1, 2), b"x", 1.5, f"module.{name}", True))] = tensor
        elif chance < 0.88:
            state = {f"layer{number}": tensor for number in range(2000)}
        else:
            state = {
                rng.choice(("state_dict", "model", "net", "model_state_dict", "x")): rng.choice((state, [state], {}, 1))
            }
            for _ in range(rng.choice((0, 1, 300))):
                state = {"state_dict": state}
    return state


def odd_entry(tensor: Any, rng: Random) -> Any:
    """Return what a `state_dict` may hold, and nobody expects, in the place of a tensor."""
    import torch

    odd: tuple[Callable[[], Any], ...] = (
        lambda: tensor.to_sparse(),
        lambda: torch.eye(4).to_sparse_csr(),
        lambda: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8),
        lambda: torch.empty(tensor.shape, device="meta"),
        lambda: tensor.to(torch.float8_e4m3fn),
        lambda: tensor.to(torch.complex64).conj(),
        lambda: torch.imag(tensor.to(torch.complex64).conj()),
        lambda: torch._neg_view(tensor),
        lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
        lambda: torch.zeros(1).expand(2_000_000_000),
        lambda: torch.zeros(1).expand(30_000, 30_000),
        lambda: torch.zeros(1).as_strided(tuple(tensor.shape), (0,) * tensor.ndim),
        lambda: torch.nn.Parameter(tensor),
        lambda: tensor.to(rng.choice((torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.bool))),
        lambda: tensor.t() if tensor.ndim == 2 else tensor[None],
        lambda: torch.zeros(0),
        lambda: torch.full(tensor.shape, float("nan")),
        lambda: rng.choice(VALUES),
        lambda: {"weight": tensor},
        lambda: [tensor],
        lambda: torch.Size([1, 2]),
        lambda: torch.device("cpu"),
        lambda: torch.float32,
        lambda: b"bytes",
        lambda: 2**100,
        lambda: torch.zeros(4, dtype=torch.uint8).untyped_storage(),
    )
    return rng.choice(odd)()


def torch_bytes(content: Any, *, zipped: bool = True) -> bytes:
    """Return a PyTorch checkpoint, as PyTorch writes it today or before version 1.6."""
    import torch

    whole = io.BytesIO()
    # The old form has the storages in the order of their addresses: here it is the order in which they were met.
    with patch.object(torch.serialization, "sorted", list, create=True):
        torch.save(content, whole, _use_new_zipfile_serialization=zipped)
    return whole.getvalue() if zipped else _with_numbered_storages(whole.getvalue())


def _with_numbered_storages(old: bytes) -> bytes:
    """Return an old checkpoint whose storages are called by their numbers: PyTorch calls them by their addresses."""
    addresses = dict.fromkeys(re.findall(rb"X\x0e\x00\x00\x00(\d{14})|X\x0f\x00\x00\x00(\d{15})", old))
    for number, found in enumerate(addresses):
        address = found[0] or found[1]
        old = old.replace(address, b"%0*d" % (len(address), number))
    return old


def spoil_torch(content: bytes, rng: Random, other: bytes) -> bytes:
    """Spoil a PyTorch checkpoint: what it holds, its pickle, or its bytes."""
    zipped = content[:2] == b"PK"
    chance = rng.random()
    if chance < 0.4:
        with contextlib.suppress(RuntimeError, NotImplementedError, TypeError, AttributeError):  # cannot be saved
            content = torch_bytes(torch_content(rng), zipped=zipped)
        if rng.random() < 0.85:
            return content
    if not zipped:
        return spoil_legacy(content, rng, other)
    if rng.random() < 0.6:
        with contextlib.suppress(zipfile.BadZipFile):
            return spoil_zip(content, rng, other, spoil_pickle)
    return blind(content, rng, other)


def spoil_legacy(content: bytes, rng: Random, other: bytes) -> bytes:
    """Spoil one of the pickles that stand one behind the other in an old checkpoint."""
    chance = rng.random()
    if chance < 0.4:
        return blind(content, rng, other)
    starts = [at for at in range(min(len(content), 400)) if content[at : at + 2] == b"\x80\x02"]
    at = rng.choice(starts) if starts else 0
    if chance < 0.7:
        return content[:at] + spoil_pickle(content[at:], rng, other)
    piece = spoil_pickle(content[at : at + 4000], rng, other)
    return content[:at] + piece + content[at + 4000 :]


def spoil_pickle(content: bytes, rng: Random, other: bytes) -> bytes:
    """Put a hostile piece into a pickle, where its opcodes begin or before it stops, or damage it."""
    if rng.random() < 0.5 or content[:1] != b"\x80":
        return blind(content, rng, other)
    piece = rng.choice(PICKLE_PIECES)
    stop = content.rfind(b".")
    at = 2 if rng.random() < 0.7 or stop < 0 else stop
    return content[:at] + piece + content[at:]
