"""Pickles of others, read without running what is in them: plain values, and numpy arrays where they are allowed."""

from __future__ import annotations

import codecs
import io
import pickle
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from pytest_lighteval.errors import UserInputError


def read_pickle(data: bytes, *, where: str, allowed: Mapping[tuple[str, str], Any] | None = None) -> Any:
    """The value of a pickle that names nothing but what is allowed.

    Args:
        data: The whole pickle; the caller bounds its size.
        where: Of the error, such as the file's name.
        allowed: (module, name) -> what stands for it. None: nothing, so the value is made of Python's plain types alone.

    Raises:
        UserInputError: It is no pickle, or it names something else.
    """
    try:
        return _Reader(io.BytesIO(data), allowed or {}).load()
    except _ForbiddenError as error:
        raise UserInputError(f"{where}: the pickle names {error}, which is not read: it may run code") from None
    except Exception as error:  # a broken pickle raises whatever its bytes lead to
        raise UserInputError(f"{where}: no readable pickle ({type(error).__name__}: {' '.join(str(error).split())})") from None


class _ForbiddenError(Exception):
    """The name of something that the pickle wants to call."""


class _Reader(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, allowed: Mapping[tuple[str, str], Any]) -> None:
        super().__init__(file)
        self._allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        """Called by pickle for every name in the data."""
        try:
            return self._allowed[module, name]
        except KeyError:
            raise _ForbiddenError(f"{module}.{name}") from None


def _empty_array(kind: object, shape: object, _typecode: object) -> np.ndarray[Any, Any]:
    """In place of numpy's own: it would make an array of any size, before its data are seen."""
    if kind is not np.ndarray or shape != (0,):
        raise ValueError("an array that is not empty before its data")
    return np.empty(0, dtype=np.int8)


def _from_buffer(data: bytes, dtype: np.dtype[Any], shape: tuple[int, ...], order: Literal["C", "F"]) -> np.ndarray[Any, Any]:
    """What a pickle of protocol 5 calls; numpy refuses objects here."""
    return np.frombuffer(data, dtype=dtype).reshape(shape, order=order)


def _scalar(dtype: np.dtype[Any], data: bytes) -> Any:
    if dtype.hasobject:
        raise ValueError("a scalar of Python objects")
    return np.frombuffer(data, dtype=dtype, count=1)[0]


NUMPY: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): codecs.encode,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _empty_array for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
}
"""What a pickle of numpy arrays and scalars names, whichever version of numpy wrote it."""
