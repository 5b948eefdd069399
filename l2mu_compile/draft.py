"""A Program while it is made: its constants and records, each under a name of its own, and its
calls, in order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.network import Network, identifier
from l2mu_compile.program import (
    API_FUNCTIONS,
    API_TYPES,
    EARLY_FUNCTION,
    STREAM_FUNCTIONS,
    Argument,
    Call,
    Constant,
    Data,
    Field,
    Place,
    Record,
)

_CTYPES = {
    **{"f4": "float", "i1": "int8_t", "i2": "int16_t", "i4": "int32_t"},
    **{"u1": "uint8_t", "u2": "uint16_t"},
}


class Draft:
    """What there is so far of the Program of a planned ``network``."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.data: list[Data] = []
        self.records: list[Record] = []
        self.calls: list[Call] = []
        words = (*API_FUNCTIONS, *STREAM_FUNCTIONS, EARLY_FUNCTION, *API_TYPES, "window")
        self._names = {f"{network.name}_{word}" for word in words}
        # A scratch buffer is a local variable: it would hide a constant of its name.
        self._names |= {buffer.name for buffer in network.buffers}

    def store(self, name: str, array: NDArray) -> str:
        """Keep ``array`` as a constant; the name it has, which is ``name`` or close to it."""
        name = self._unused(name)
        self.data.append(Data(name, _CTYPES[array.dtype.str[1:]], np.ravel(array)))
        return name

    def record(self, name: str, ctype: str, fields: Sequence[Field]) -> Constant:
        """Keep a C struct, called ``name`` or close to it; the argument that is its address."""
        name = self._unused(name)
        self.records.append(Record(name, ctype, tuple(fields)))
        return Constant(name, address=True)

    def call(self, kernel: str, owner: str, *arguments: Argument) -> None:
        """Add a call to the step."""
        self.calls.append(Call(f"l2mu_{kernel}", arguments, owner))

    def uses(self, place: Place) -> bool:
        """Whether a call of the step is given ``place``."""
        return any(place in call.arguments for call in self.calls)

    def _unused(self, name: str) -> str:
        name = identifier(name, self._names)
        self._names.add(name)
        return name
