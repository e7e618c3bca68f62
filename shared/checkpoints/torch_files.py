"""Read the tensors of a PyTorch checkpoint as NumPy arrays, without PyTorch and without running what the file says.

`torch.load(weights_only=True)` runs no foreign code, but it believes the sizes in a file, and opens archives with a
library of its own: what was checked need not be what it reads. Here both are one. There are two forms: a ZIP archive
with a pickle `data.pkl` and one member for each storage, and, before PyTorch 1.6, five pickles and then the storages.
"""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from shared.base.budget import Budget
from shared.base.damage import said_as_damage
from shared.base.errors import WeightsError
from shared.base.files import open_plain
from shared.base.printable import printable, printable_list
from shared.checkpoints.pickles import OBJECT, Name, Pairs, PickleMachine
from shared.checkpoints.zips import Archive, read_array

#: How the form before PyTorch 1.6 begins.
MAGIC = 0x1950A86A20F9469CFC6C
#: Where people put the state_dict in a checkpoint that holds more.
WRAPPERS = ("state_dict", "model", "model_state_dict", "net")
#: NumPy's own limit, and what no shape goes beyond.
MOST_AXES, MOST_NUMBERS = 64, 2**48

#: PyTorch's dtypes that are NumPy's too, and bfloat16, which is the upper half of a float32.
DTYPES: tuple[str, ...] = (
    "float64",
    "float32",
    "float16",
    "bfloat16",
    "int64",
    "int32",
    "int16",
    "int8",
    "uint8",
    "bool",
)
DTYPES += ("uint16", "uint32", "uint64", "complex64", "complex128")
#: Those that NumPy does not have: they are only named.
OTHER_DTYPES: tuple[str, ...] = ("complex32", "qint8", "quint8", "qint32", "quint4x2", "quint2x4", "float4_e2m1fn_x2")
OTHER_DTYPES += ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu")
STORAGES = {
    **{"Double": "float64", "Float": "float32", "Half": "float16", "BFloat16": "bfloat16", "Bool": "bool"},
    **{"Long": "int64", "Int": "int32", "Short": "int16", "Char": "int8", "Byte": "uint8"},
    **{"ComplexFloat": "complex64", "ComplexDouble": "complex128"},
    **{"QInt8": "qint8", "QUInt8": "quint8", "QInt32": "qint32", "QUInt4x2": "quint4x2", "QUInt2x4": "quint2x4"},
}
DTYPE_NAMES = {f"torch.{name}": name for name in (*DTYPES, *OTHER_DTYPES)}
STORAGE_NAMES = {f"torch.{name}Storage": dtype for name, dtype in STORAGES.items()}
STORAGE_NAMES |= {f"torch.{name}Storage": "uint8" for name in ("storage.Untyped", "storage._Untyped", "Untyped")}

TENSORS = {f"torch._utils._rebuild_tensor{end}" for end in ("", "_v2", "_v3")}
PARAMETERS = {f"torch._utils._rebuild_parameter{end}" for end in ("", "_with_state")}
TYPED = {f"torch.{module}._rebuild_from_type{end}" for module in ("tensor", "_tensor") for end in ("", "_v2")}
#: Functions that build what is no plain tensor -> what that is, and what makes a plain one of it.
OTHER_TENSORS = {
    "qtensor": ("a quantised tensor", "tensor.dequantize()"),
    "sparse_tensor": ("a sparse tensor", "tensor.to_dense()"),
    "sparse_csr_tensor": ("a sparse tensor", "tensor.to_dense()"),
    "nested_tensor": ("a nested tensor", "plain ones: tensor.unbind()"),
    "meta_tensor_no_storage": (
        "a tensor on the device 'meta', which has no numbers",
        "tensor of a model that has some",
    ),
    "wrapper_subclass": ("a tensor of a class of its own", "plain torch.Tensor"),
    "device_tensor_from_numpy": ("a tensor of another device", "tensor.cpu()"),
    "device_tensor_from_cpu_tensor": ("a tensor of another device", "tensor.cpu()"),
}
OTHER_TENSORS = {f"torch._utils._rebuild_{name}": words for name, words in OTHER_TENSORS.items()}
OTHER_TENSORS["torch.nested._internal.nested_tensor._rebuild_njt"] = OTHER_TENSORS[
    "torch._utils._rebuild_nested_tensor"
]
DICTS = {"collections.OrderedDict", "collections.Counter"}
#: Plain data that no weights consist of. It stays what it is called with.
PLAIN = {
    f"{module}.{name}" for module in ("builtins", "__builtin__") for name in ("set", "bytes", "bytearray", "complex")
}
PLAIN |= {"_codecs.encode", "torch.Size", "torch.device", "torch.serialization._get_layout"}
#: They are named and not called.
SILENT = {
    "torch.Tensor",
    "torch._tensor.Tensor",
    "torch.nn.parameter.Parameter",
}
SILENT |= {f"torch.per_{what}_affine{end}" for what in ("tensor", "channel") for end in ("", "_float_qparams")}


@dataclass(frozen=True, slots=True)
class Storage:
    """A row of numbers in the file: under which key it lies, and of which dtype they are."""

    key: str
    dtype: str


@dataclass(frozen=True, slots=True)
class Tensor:
    """How a tensor lies in its storage, counted in numbers of its dtype."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    #: What PyTorch puts off until the values are asked for: "conj", "neg" or nothing.
    put_off: str

    @property
    def count(self) -> int:
        """How many numbers the tensor shows."""
        return math.prod(self.shape)

    @property
    def span(self) -> int:
        """How many numbers of the storage lie between its first and its last one."""
        return 1 + sum((size - 1) * step for size, step in zip(self.shape, self.strides, strict=True))


@dataclass(frozen=True, slots=True)
class OtherTensor:
    """A tensor that is no plain one: what it is, and what makes a plain one of it."""

    what: str
    remedy: str


Order = Literal["<", ">"]
ORDERS: dict[bytes, Order] = {b"little": "<", b"big": ">"}
#: From a storage to its bytes, and "<" or ">" for their order.
Fetch = Callable[[Storage], tuple[NDArray[np.uint8], Order]]


class CheckpointMachine(PickleMachine):
    """The names that PyTorch's own pickles use, and what they stand for here: descriptions, no tensors."""

    allowed = frozenset(
        {*TENSORS, *PARAMETERS, *TYPED, *OTHER_TENSORS, *DICTS, *PLAIN, *SILENT, *DTYPE_NAMES, *STORAGE_NAMES}
    )

    def __init__(self, budget: Budget) -> None:
        super().__init__(budget)
        self.storages: dict[str, Storage] = {}

    def call(self, name: str, arguments: tuple[Any, ...]) -> Any:
        """Return what one of the allowed names makes of its arguments."""
        if name in TENSORS:
            return _describe(*arguments)
        if name in OTHER_TENSORS:
            return OtherTensor(*OTHER_TENSORS[name])
        if name in PARAMETERS:
            return arguments[0]
        if name in TYPED:  # a function, the tensor's class, what the function takes, and attributes
            return self.call(arguments[0].text, arguments[2]) if arguments[0].text not in TYPED else None
        if name in DICTS:
            content = arguments[0] if arguments else []
            self.budget.take(len(content) * OBJECT)
            return Pairs((key, value) for key, value in content)
        if name in PLAIN:
            return arguments
        raise self.refused(f"it calls {name}")

    def load(self, key: Any) -> Storage:
        """Return which storage the pickle means."""
        kind, name, place, _, _, *view = key
        if any(view):
            raise WeightsError(
                f"{printable(self.budget.path)} has a storage that is a part of another one, as only very old files "
                "do; load it with PyTorch, and save it again"
            )
        if kind != "storage" or type(place) not in (str, int):
            raise ValueError("a storage is described in an unknown way")
        return self.storages.setdefault(str(place), Storage(str(place), STORAGE_NAMES[name.text]))


def _describe(storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *rest: Any) -> Tensor:
    """Take what `_rebuild_tensor`, `_v2` and `_v3` are handed: only the last one names a dtype of its own."""
    if not isinstance(storage, Storage) or type(shape) is not tuple or type(strides) is not tuple:
        raise TypeError("a tensor is described in an unknown way")
    if len(shape) != len(strides) or len(shape) > MOST_AXES:
        raise ValueError(f"a tensor has {len(shape)} axes and {len(strides)} strides")
    if any(type(number) is not int or not 0 <= number < MOST_NUMBERS for number in (offset, *shape, *strides)):
        raise ValueError("a tensor has a shape that cannot be")
    dtypes = [DTYPE_NAMES[each.text] for each in rest if isinstance(each, Name)]
    tables = [each.named() for each in rest if isinstance(each, Pairs)]
    put_off = [word for word in ("conj", "neg") if any(table.get(word) is True for table in tables)]
    return Tensor(storage, [*dtypes, storage.dtype][0], offset, shape, strides, "".join(put_off[:1]))


def read_torch(path: Path, budget: Budget) -> dict[str, NDArray[Any]]:
    """Return the arrays of the state_dict in a checkpoint, under the names that they have there.

    Numbers of 16 bits become float32. Raises `WeightsError` for a file that is damaged, or holds something else.
    """
    with open_plain(path) as stream, said_as_damage(path, "PyTorch checkpoint"):
        archive = stream.read(4) == b"PK\3\4"
        stream.seek(0)
        content, fetch = (_open_archive if archive else _open_old)(stream, budget)
        return _arrays(_state_dict(content, path), fetch, budget)


def _open_archive(stream: BinaryIO, budget: Budget) -> tuple[Any, Fetch]:
    archive = Archive(stream, budget)
    root = next(iter(archive.members), "").split("/")[0]
    if f"{root}/constants.pkl" in archive.members:
        raise WeightsError(
            f"{printable(budget.path)} is a TorchScript archive, a program with weights in it; what is wanted is "
            "torch.save(torch.jit.load(FILE).state_dict(), ...)"
        )
    if f"{root}/data.pkl" not in archive.members:
        raise WeightsError(f"{printable(budget.path)} is a ZIP archive, but no PyTorch checkpoint: it has no data.pkl")
    content = CheckpointMachine(budget).run(io.BytesIO(archive.array(f"{root}/data.pkl").tobytes()))
    order: Order = "<"
    if f"{root}/byteorder" in archive.members:
        order = ORDERS[archive.array(f"{root}/byteorder").tobytes()]
    return content, lambda storage: (archive.array(f"{root}/data/{storage.key}"), order)


def _open_old(stream: BinaryIO, budget: Budget) -> tuple[Any, Fetch]:
    """Five pickles: a magic number, a version, the system, the content, the keys of the storages. Then those."""
    machine = CheckpointMachine(budget)
    if machine.run(stream) != MAGIC:
        raise WeightsError(
            f"{printable(budget.path)} is refused: it is a pickle, but no PyTorch checkpoint; what is wanted is "
            "torch.save(model.state_dict(), ...) or a .safetensors file"
        )
    _version, _system, content, keys = (machine.run(stream) for _ in range(4))
    places: dict[str, tuple[int, int]] = {}
    for key in map(str, keys):
        count = int.from_bytes(stream.read(8), "little")
        size = count * _size_of(machine.storages[key].dtype)
        places[key] = (stream.tell(), size)
        stream.seek(size, 1)

    def fetch(storage: Storage) -> tuple[NDArray[np.uint8], Order]:
        start, size = places[storage.key]
        stream.seek(start)
        return read_array(stream, size, budget), "<"

    return content, fetch


def _size_of(dtype: str) -> int:
    if dtype in DTYPES:
        return np.dtype(_numpy_dtype(dtype)).itemsize
    return 4 if dtype == "qint32" else 1


def _numpy_dtype(dtype: str) -> str:
    return "uint16" if dtype == "bfloat16" else dtype


def _state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    """Return the tensors that are weights; raise `WeightsError` for anything else among them."""
    for key in WRAPPERS:
        if isinstance(content, Pairs) and isinstance(inner := content.named().get(key), Pairs):
            content = inner
    if not isinstance(content, Pairs):
        raise WeightsError(f"{printable(path)} holds a {type(content).__name__.lower()}, not a state_dict")
    values = content.named()
    strangers = [name for name, value in values.items() if not isinstance(value, Tensor | OtherTensor)]
    strangers += [f"a key that is a {type(key).__name__}" for key, _ in content if not isinstance(key, str)]
    if strangers or not values:
        raise WeightsError(f"{printable(path)} holds no state_dict: {printable_list(strangers, 5) or 'it is empty'}")
    # Counters of batches are no weights, and are often one tensor under many names.
    values = {name: value for name, value in values.items() if not name.endswith("num_batches_tracked")}
    for name, tensor in values.items():
        if problem := _problem(tensor):
            raise WeightsError(f"{printable(path)}: {printable(name)} is {problem}")
    return values


def _problem(tensor: Tensor | OtherTensor) -> str:
    """What a tensor is that has no values of its own that NumPy knows, and what to save instead."""
    if isinstance(tensor, OtherTensor):
        return f"{tensor.what}; save it as {tensor.remedy}"
    if tensor.put_off:
        what = {"conj": "conjugated", "neg": "negated"}[tensor.put_off]
        return f"{what} by a mark only; save it as tensor.resolve_{tensor.put_off}()"
    if tensor.dtype not in DTYPES:
        return f"a tensor of {tensor.dtype}, which NumPy does not know; save it as tensor.float()"
    if tensor.count > max(tensor.span, 0):
        return f"expanded: its {tensor.count:,} numbers are {tensor.span:,} stored ones; save it as tensor.clone()"
    return ""


def _arrays(tensors: dict[str, Tensor], fetch: Fetch, budget: Budget) -> dict[str, NDArray[Any]]:
    rows: dict[str, tuple[NDArray[np.uint8], Order]] = {}
    used: Counter[str] = Counter()
    arrays = {}
    for name, tensor in tensors.items():
        key = tensor.storage.key
        if key not in rows:
            rows[key] = fetch(tensor.storage)
        row, order = rows[key]
        dtype = np.dtype(_numpy_dtype(tensor.dtype)).newbyteorder(order)
        used[key] += tensor.count * dtype.itemsize
        if used[key] > len(row):
            raise WeightsError(
                f"{printable(budget.path)}: {printable(name)} asks for more numbers than are stored for it, or for "
                "some that another array has already; no network of the catalog shares weights"
            )
        steps = [step * dtype.itemsize for step in tensor.strides]
        array: NDArray[Any] = np.ndarray(tensor.shape, dtype, row.data, tensor.offset * dtype.itemsize, steps)
        budget.take_member(array.nbytes if array.itemsize == 2 else 0)
        arrays[name] = _as_numbers(array, tensor.dtype)
    return arrays


def _as_numbers(array: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Return the values in the computer's own byte order, and those of 16 bits as float32."""
    if dtype == "bfloat16":
        wide = array.astype(np.uint32)
        wide <<= 16
        return wide.view(np.float32)
    if dtype == "float16":
        return array.astype(np.float32)
    return array.astype(array.dtype.newbyteorder("="), copy=False)
