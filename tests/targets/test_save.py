"""Saving and restoring states, in bytes: what is refused, and that nothing else is touched."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest
from kernel_machines import Array, Call, Struct, Table, Variant, kernels
from numpy.typing import NDArray

DIGEST = b"0123456789abcdef" + 48 * b"x"
FLOATS, INTEGERS = range(2)
WRONG_SIZE, NOT_SAVED, OTHER_NETWORK, DAMAGED, IMPOSSIBLE = range(1, 6)
MEMBER_FIELDS = ("offset", "count", "bytes", "kind", "low", "high")

# Members of a state of 64 bytes, with what they may hold; bytes between them are not saved.
SAVED = [
    (0, 3, 4, FLOATS, 0, 0),
    (16, 2, 8, INTEGERS, -(2**62), 2**62),
    (32, 3, 4, INTEGERS, -5, 2**27),
    (44, 2, 2, INTEGERS, -(2**15), 2**15 - 1),
    (48, 5, 2, INTEGERS, -300, 2**12),
]
STATE_BYTES = 64


def layout() -> Struct:
    members = [
        Struct("l2mu_member_t", **dict(zip(MEMBER_FIELDS, member, strict=True))) for member in SAVED
    ]
    return Struct(
        "l2mu_layout_t",
        member=Table(*members),
        members=len(SAVED),
        digest=Array(np.frombuffer(DIGEST, np.uint8)),
        state_bytes=STATE_BYTES,
    )


def a_state(
    floats: Any = (1.5, -0.0, np.nan),
    sums: Any = (-(2**62), 2**40),
    integers: Any = (-5, 0, 2**27),
    halves: Any = (-(2**15), 7),
    narrow: Any = (-300, 0, -1, 1, 2**12),
) -> NDArray:
    state = np.full(STATE_BYTES, 0x5A, np.uint8)
    for (offset, *_), array in zip(
        SAVED,
        (
            np.float32(floats),
            np.int64(sums),
            np.int32(integers),
            np.int16(halves),
            np.int16(narrow),
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
    body: bytes, magic: bytes = b"L2MU", version: int = 2, digest: bytes = DIGEST[:16]
) -> NDArray:
    head = magic + version.to_bytes(4, "little") + digest
    checksum = zlib.crc32(head + body).to_bytes(4, "little")
    return np.frombuffer(head + body + checksum, np.uint8)


def restored(call: Call, kernel: Variant, data: NDArray) -> tuple[int, NDArray]:
    """What restoring returns, and the state; one that is refused must be as it was."""
    state = Array(np.full(STATE_BYTES, 0xC3, np.uint8), align=8)
    code = call(kernel, layout(), state, Array(data), data.size, changes=(state,))
    if code != 0:
        assert (state.values == state.before).all()
    return code, state.values


@kernels("save_state")
def test_a_state_is_saved_little_endian_with_a_checksum(call: Call, kernel: Variant) -> None:
    state = Array(a_state(), align=8)
    wanted = saved(content(state.before))
    out = Array(np.zeros(wanted.size, np.uint8))
    call(kernel, layout(), state, out, changes=(out,))
    assert out.values.tobytes() == wanted.tobytes()


@kernels("restore_state")
def test_a_saved_state_is_restored_and_zero_beside_it(call: Call, kernel: Variant) -> None:
    code, state = restored(call, kernel, saved(content(a_state())))
    assert code == 0
    assert content(state) == content(a_state())
    kept = np.ones(STATE_BYTES, bool)
    for offset, count, size, *_ in SAVED:
        kept[offset : offset + count * size] = False
    assert kept.any()
    assert (state[kept] == 0).all()


@kernels("restore_state")
def test_a_wrong_size_is_refused(call: Call, kernel: Variant) -> None:
    good = saved(content(a_state()))
    for data in (good[:0], good[:3], good[:-1], np.append(good, good[:1])):
        assert restored(call, kernel, data)[0] == WRONG_SIZE


@kernels("restore_state")
def test_what_is_no_saved_state_of_this_network_is_refused(call: Call, kernel: Variant) -> None:
    body = content(a_state())
    assert restored(call, kernel, saved(body, magic=b"L2MV"))[0] == NOT_SAVED
    for version in (0, 1, 3, 999):
        assert restored(call, kernel, saved(body, version=version))[0] == NOT_SAVED
    assert restored(call, kernel, saved(body, digest=b"0123456789abcdeF"))[0] == OTHER_NETWORK


@kernels("restore_state")
def test_any_flipped_bit_is_noticed(call: Call, kernel: Variant) -> None:
    good = saved(content(a_state()))
    for bit in range(8 * good.size):
        data = good.copy()
        data[bit // 8] ^= 1 << bit % 8
        wanted = NOT_SAVED if bit < 64 else OTHER_NETWORK if bit < 192 else DAMAGED
        assert restored(call, kernel, data)[0] == wanted, bit


@kernels("restore_state")
@pytest.mark.parametrize(
    "changed",
    [
        {"sums": (-(2**62) - 1, 0)},
        {"sums": (0, 2**62 + 1)},
        {"sums": (-(2**63), 0)},
        {"integers": (-6, 0, 0)},
        {"integers": (0, 0, 2**27 + 1)},
        {"integers": (0, -(2**31), 0)},
        {"narrow": (-301, 0, 0, 0, 0)},
        {"narrow": (0, 0, 0, 0, 2**12 + 1)},
        {"narrow": (0, 0, -(2**15), 0, 0)},
        {"narrow": (0, 0, 2**15 - 1, 0, 0)},
    ],
    ids=str,
)
def test_a_state_that_cannot_be_is_refused_although_its_checksum_is_right(
    call: Call, kernel: Variant, changed: dict[str, Any]
) -> None:
    assert restored(call, kernel, saved(content(a_state(**changed))))[0] == IMPOSSIBLE


@kernels("restore_state")
@pytest.mark.parametrize(
    "changed",
    [
        {"floats": (np.inf, -np.inf, 1e-45)},
        {"sums": (2**62, -(2**62))},
        {"integers": (2**27, -5, -5)},
        {"halves": (2**15 - 1, -(2**15))},
        {"narrow": (2**12, -300, 2**12, -300, -300)},
    ],
    ids=str,
)
def test_the_outermost_states_are_restored(
    call: Call, kernel: Variant, changed: dict[str, Any]
) -> None:
    wanted = content(a_state(**changed))
    code, state = restored(call, kernel, saved(wanted))
    assert (code, content(state)) == (0, wanted)
