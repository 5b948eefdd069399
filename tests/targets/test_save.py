"""Saving and restoring states, in bytes: what is refused, and that nothing else is touched."""

from __future__ import annotations

import ctypes
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from test_kernels import Guarded, call, same, structure

assert call  # the fixture

DIGEST = b"0123456789abcdef" + 48 * b"x"
FLOATS, INTEGERS, SPIKES = range(3)
WRONG_SIZE, NOT_SAVED, OTHER_NETWORK, DAMAGED, IMPOSSIBLE = range(1, 6)
MEMBER = structure(
    ("offset", ctypes.c_uint32),
    ("count", ctypes.c_uint32),
    ("bytes", ctypes.c_uint8),
    ("kind", ctypes.c_uint8),
    ("low", ctypes.c_int64),
    ("high", ctypes.c_int64),
)
LAYOUT = structure(
    ("member", ctypes.c_void_p), ("members", ctypes.c_size_t), ("digest", ctypes.c_char_p)
)

# Members of a state of 64 bytes, with what they may hold; bytes between them are not saved.
SAVED = [
    (0, 3, 4, FLOATS, 0, 0),
    (16, 2, 8, INTEGERS, -(2**62), 2**62),
    (32, 3, 4, INTEGERS, -5, 2**27),
    (46, 2, 2, INTEGERS, -(2**15), 2**15 - 1),
    (50, 5, 2, SPIKES, 0, 0),
]
STATE_BYTES = 64


def layout() -> Any:
    table = (MEMBER * len(SAVED))(*SAVED)
    record = LAYOUT(ctypes.addressof(table), len(SAVED), DIGEST)
    record.arrays, record.kept = [], table  # type: ignore[attr-defined]
    return record


def a_state(
    floats: Any = (1.5, -0.0, np.nan),
    sums: Any = (-(2**62), 2**40),
    integers: Any = (-5, 0, 2**27),
    halves: Any = (-(2**15), 7),
    spikes: Any = (2, 0, 3, 9, 9),
) -> NDArray:
    state = np.full(STATE_BYTES, 0x5A, np.uint8)
    for (offset, *_), array in zip(
        SAVED,
        (
            np.float32(floats),
            np.int64(sums),
            np.int32(integers),
            np.int16(halves),
            np.uint16(spikes),
        ),
        strict=True,
    ):
        state[offset : offset + array.nbytes] = np.frombuffer(array.tobytes(), np.uint8)
    return state


def content(state: NDArray) -> bytes:
    return b"".join(
        state[offset : offset + count * size].tobytes() for offset, count, size, *_ in SAVED
    )


def saved(
    body: bytes, magic: bytes = b"L2MU", version: int = 1, digest: bytes = DIGEST[:16]
) -> NDArray:
    head = magic + version.to_bytes(4, "little") + digest
    checksum = zlib.crc32(head + body).to_bytes(4, "little")
    return np.frombuffer(head + body + checksum, np.uint8)


def restored(call: Callable[..., Any], data: NDArray) -> tuple[int, NDArray]:
    """What restoring returns, and the state; one that is refused must be as it was."""
    state = Guarded(np.full(STATE_BYTES, 0xC3, np.uint8))
    code = call("restore_state", layout(), state, Guarded(data), data.size, writes=1)
    if code != 0:
        same(state.array, state.before)
    return code, state.array


def test_a_state_is_saved_little_endian_with_a_checksum(call: Callable[..., Any]) -> None:
    state = Guarded(a_state())
    wanted = saved(content(state.array))
    out = Guarded(np.zeros(wanted.size, np.uint8))
    call("save_state", layout(), state, out, writes=2)
    same(out.array, wanted)


def test_a_saved_state_is_restored_and_nothing_beside_it(call: Callable[..., Any]) -> None:
    code, state = restored(call, saved(content(a_state())))
    assert code == 0
    assert content(state) == content(a_state())
    kept = np.ones(STATE_BYTES, bool)
    for offset, count, size, *_ in SAVED:
        kept[offset : offset + count * size] = False
    assert (state[kept] == 0xC3).all()


def test_a_wrong_size_is_refused(call: Callable[..., Any]) -> None:
    good = saved(content(a_state()))
    for data in (good[:0], good[:3], good[:-1], np.append(good, good[:1])):
        assert restored(call, data)[0] == WRONG_SIZE


def test_what_is_no_saved_state_of_this_network_is_refused(call: Callable[..., Any]) -> None:
    body = content(a_state())
    assert restored(call, saved(body, magic=b"L2MV"))[0] == NOT_SAVED
    assert restored(call, saved(body, version=2))[0] == NOT_SAVED
    assert restored(call, saved(body, digest=b"0123456789abcdeF"))[0] == OTHER_NETWORK


def test_any_flipped_bit_is_noticed(call: Callable[..., Any]) -> None:
    good = saved(content(a_state()))
    for bit in range(8 * good.size):
        data = good.copy()
        data[bit // 8] ^= 1 << bit % 8
        wanted = NOT_SAVED if bit < 64 else OTHER_NETWORK if bit < 192 else DAMAGED
        assert restored(call, data)[0] == wanted, bit


@pytest.mark.parametrize(
    "changed",
    [
        {"sums": (-(2**62) - 1, 0)},
        {"sums": (0, 2**62 + 1)},
        {"sums": (-(2**63), 0)},
        {"integers": (-6, 0, 0)},
        {"integers": (0, 0, 2**27 + 1)},
        {"integers": (0, -(2**31), 0)},
        {"spikes": (5, 0, 1, 2, 3)},
        {"spikes": (2**16 - 1, 0, 1, 2, 3)},
        {"spikes": (1, 4, 0, 0, 0)},
        {"spikes": (2, 1, 1, 0, 0)},
        {"spikes": (3, 0, 2, 1, 3)},
        {"spikes": (4, 0, 1, 2, 2**16 - 1)},
    ],
    ids=str,
)
def test_a_state_that_cannot_be_is_refused_although_its_checksum_is_right(
    call: Callable[..., Any], changed: dict[str, Any]
) -> None:
    assert restored(call, saved(content(a_state(**changed))))[0] == IMPOSSIBLE


@pytest.mark.parametrize(
    "changed",
    [
        {"floats": (np.inf, -np.inf, 1e-45)},
        {"sums": (2**62, -(2**62))},
        {"integers": (2**27, -5, -5)},
        {"spikes": (0, 2**16 - 1, 7, 7, 7)},
        {"spikes": (4, 0, 1, 2, 3)},
    ],
    ids=str,
)
def test_the_outermost_states_are_restored(
    call: Callable[..., Any], changed: dict[str, Any]
) -> None:
    wanted = content(a_state(**changed))
    code, state = restored(call, saved(wanted))
    assert (code, content(state)) == (0, wanted)
