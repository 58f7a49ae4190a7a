"""Columns of per-document values as short JSON: bits for scores, offsets for row numbers, bytes for digests. Knows no file and no task.

Equal values give equal text on every machine, so no compression library is used: its output may change with its version. Nothing is
rounded: a score without its last bits would differ from the candidate's in documents that did not change.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pytest_lighteval.types import SampleValue

Value = SampleValue | str | None

_DIGEST_BYTES = 6
_MOST_BITS = 62
_ID = re.compile(r"(?P<split>.+?):(?P<row>0|[1-9][0-9]{0,14})(?::(?P<part>0|[1-9][0-9]{0,14}))?", re.DOTALL)
_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class PackingError(ValueError):
    """The packed form is damaged. `str()` says how in a few words."""


# ------------------------------------------------------------------------------------------------------- columns


def pack_column(values: Sequence[Any]) -> dict[str, Any]:
    """A column of numbers, texts, None, or tuples of them, without loss. The number of rows is not part of it.

    The shortest of these forms:
    - `{"values": [...], "packed"}`: the distinct values, and for every row its value's index in the fewest bits (a 0/1 score: one bit; a
      column of one value: none).
    - `{"least", "bits", "packed"}`: integers as their distance from the least.
    - `{"float64"}`: eight bytes per row, little-endian.
    - `{"columns": [...]}`: for tuples of equal length, one column per place.
    Bits are packed from the most significant on; bytes are base64.

    Raises TypeError for any other value.
    """
    rows: list[Any] = [_plain(value) for value in values]
    lengths = {len(row) for row in rows if isinstance(row, tuple)}
    if len(lengths) == 1 and 0 not in lengths and _splits(rows):
        places = range(next(iter(lengths)))
        return {"columns": [pack_column([None if row is None else row[place] for row in rows]) for place in places]}
    candidates = [_by_values(rows)]
    if rows and all(type(row) is int for row in rows):
        candidates += _by_offsets(rows)
    if rows and all(type(row) is float for row in rows):
        # one bit pattern for not-a-number, whatever the machine
        floats = np.asarray([math.nan if math.isnan(row) else row for row in rows], dtype="<f8")
        candidates.append({"float64": _text(floats.tobytes())})
    return min(candidates, key=lambda candidate: len(json.dumps(candidate)))


def unpack_column(packed: Any, count: int) -> list[Any]:
    """The `count` rows of a packed column. Raises PackingError for anything that `pack_column` cannot have written."""
    match packed:
        case {"values": list(encoded), "packed": str(text), **rest} if not rest:
            values = [_decoded(value) for value in encoded]
            indices = _unpack_bits(text, count, _width(len(values)))
            if count and (not values or int(indices.max()) >= len(values)):
                raise PackingError(f"a row has none of the {len(values)} values")
            return [values[index] for index in indices]
        case {"least": int(least), "bits": int(bits), "packed": str(text), **rest} if not rest and 0 <= bits <= _MOST_BITS:
            return [least + int(offset) for offset in _unpack_bits(text, count, bits)]
        case {"float64": str(text), **rest} if not rest:
            return [float(number) for number in np.frombuffer(_bytes(text, 8 * count), dtype="<f8")]
        case {"columns": [_, *_] as columns, **rest} if not rest:
            rows = zip(*(unpack_column(column, count) for column in columns), strict=True)
            return [None if all(place is None for place in row) else row for row in rows]
    raise PackingError("is no packed column: values and packed; least, bits and packed; float64; or columns")


def count_columns(packed: Any) -> int:
    """How many values `unpack_column` makes for each row."""
    match packed:
        case {"columns": [*columns]}:
            return sum(map(count_columns, columns))
    return 1


def _splits(rows: Sequence[Any]) -> bool:
    """Every row is None or a tuple that does not read back as None (not all of its members are None)."""
    return all(row is None or (isinstance(row, tuple) and any(place is not None for place in row)) for row in rows)


def _plain(value: Any) -> Value:
    """Python's own None, bool, int, float, str or tuple of them. numpy's scalars become Python's."""
    if value is None or type(value) in (bool, int, float, str):
        return value  # type: ignore[no-any-return]  # narrowed by its exact type
    if isinstance(value, (tuple, list)):
        return tuple(_plain(member) for member in value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, int):
        return int(value)
    if callable(tolist := getattr(value, "tolist", None)):
        return _plain(tolist())
    raise TypeError(f"a {type(value).__name__} cannot be kept in a baseline, which holds numbers, texts and tuples of them")


def _encoded(value: Value) -> Any:
    if isinstance(value, tuple):
        return [_encoded(member) for member in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    return value


def _decoded(value: Any) -> Value:
    if isinstance(value, list):
        return tuple(_decoded(member) for member in value)
    if isinstance(value, dict):
        if len(value) != 1 or value.get("float") not in _NOT_FINITE:
            raise PackingError(f"{json.dumps(value)} is no value")
        return _NOT_FINITE[value["float"]]
    return value  # type: ignore[no-any-return]  # JSON's own None, bool, int, float and str


def _by_values(rows: Sequence[Value]) -> dict[str, Any]:
    # by their JSON: 1, 1.0 and True are equal in Python, but must stay three values
    texts = [json.dumps(_encoded(row)) for row in rows]
    distinct = sorted(set(texts))
    places = {text: place for place, text in enumerate(distinct)}
    packed = _pack_bits(np.asarray([places[text] for text in texts], dtype=np.uint64), _width(len(distinct)))
    return {"values": [json.loads(text) for text in distinct], "packed": packed}


def _by_offsets(rows: Sequence[Any]) -> list[dict[str, Any]]:
    least = min(rows)
    bits = (max(rows) - least).bit_length()
    if bits > _MOST_BITS:
        return []
    return [{"least": least, "bits": bits, "packed": _pack_bits(np.asarray([row - least for row in rows], dtype=np.uint64), bits)}]


def _width(values: int) -> int:
    """Bits of the largest index."""
    return max(values - 1, 0).bit_length()


def _pack_bits(numbers: npt.NDArray[np.uint64], width: int) -> str:
    shifts = np.arange(width - 1, -1, -1, dtype=np.uint64)
    bits = (numbers[:, None] >> shifts & np.uint64(1)).astype(np.uint8)
    return _text(np.packbits(bits.ravel()).tobytes())


def _unpack_bits(text: str, count: int, width: int) -> npt.NDArray[np.int64]:
    data = np.frombuffer(_bytes(text, (count * width + 7) // 8), dtype=np.uint8)
    bits = np.unpackbits(data)[: count * width].reshape(count, width).astype(np.int64)
    result: npt.NDArray[np.int64] = bits @ (np.int64(1) << np.arange(width - 1, -1, -1, dtype=np.int64))
    return result


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes(text: str, count: int) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise PackingError("is not base64") from error
    if len(data) != count:
        raise PackingError(f"holds {len(data)} bytes where {count} are needed")
    return data


# ------------------------------------------------------------------------------------------------- ids and digests


def pack_ids(ids: Sequence[str]) -> dict[str, Any]:
    """Ids of documents, `<split>:<row>[:<n>]`, as `{"split", "row", "part"}` columns; `{"texts": [...]}` where one is not of this form.

    The rows are in shuffled order, so differences between neighbours would take more bits than the row numbers themselves.
    """
    found = [_ID.fullmatch(document) for document in ids]
    if not all(found):
        return {"texts": list(ids)}
    parts = [(match["split"], int(match["row"]), None if match["part"] is None else int(match["part"])) for match in found if match]
    split, row, part = zip(*parts, strict=True) if parts else ((), (), ())
    return {"split": pack_column(split), "row": pack_column(row), "part": pack_column(part)}


def unpack_ids(packed: Any, count: int) -> tuple[str, ...]:
    """The ids that `pack_ids` was given. Raises PackingError."""
    match packed:
        case {"texts": list(texts), **rest} if not rest:
            if len(texts) != count or not all(isinstance(text, str) for text in texts):
                raise PackingError(f"holds {len(texts)} texts where {count} are needed")
            return tuple(texts)
        case {"split": split, "row": row, "part": part, **rest} if not rest:
            columns = zip(unpack_column(split, count), unpack_column(row, count), unpack_column(part, count), strict=True)
            return tuple(f"{name}:{number}" if further is None else f"{name}:{number}:{further}" for name, number, further in columns)
    raise PackingError("holds no ids: split, row and part, or texts")


def pack_digests(digests: Sequence[str]) -> str:
    """Digests of 12 lower-case hex digits, six bytes each. Raises ValueError for anything else."""
    data = b"".join(bytes.fromhex(digest) for digest in digests)
    if [data[start : start + _DIGEST_BYTES].hex() for start in range(0, len(data), _DIGEST_BYTES)] != list(digests):
        raise ValueError("a prompt digest is not 12 lower-case hex digits")
    return _text(data)


def unpack_digests(text: Any, count: int) -> tuple[str, ...]:
    """The digests that `pack_digests` was given. Raises PackingError."""
    if not isinstance(text, str):
        raise PackingError("is not base64")
    data = _bytes(text, _DIGEST_BYTES * count)
    return tuple(data[start : start + _DIGEST_BYTES].hex() for start in range(0, len(data), _DIGEST_BYTES))


# ---------------------------------------------------------------------------------------------------- soft scores


def pack_halves(numbers: Sequence[float]) -> str:
    """Numbers of half precision, two bytes each, little-endian. Raises ValueError for a number that is none of them, or not finite."""
    exact = np.asarray(numbers, dtype=np.float64)
    with np.errstate(over="ignore"):
        halves = exact.astype("<f2")
    if not (np.isfinite(exact).all() and np.array_equal(halves.astype(np.float64), exact)):
        raise ValueError("a soft score is not on its grid, the finite numbers of half precision")
    return _text(halves.tobytes())


def unpack_halves(text: str, count: int) -> list[float]:
    """The numbers that `pack_halves` was given. Raises PackingError."""
    halves = np.frombuffer(_bytes(text, 2 * count), dtype="<f2")
    if not np.isfinite(halves).all():
        raise PackingError("a soft score is not finite")
    return [float(number) for number in halves]
