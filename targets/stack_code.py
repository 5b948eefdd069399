"""What instructions do with the stack pointer, and where they go: Thumb, Arm and AArch64.

Only what compilers write is told apart: the forms that lower the stack pointer, calls and jumps.
A jump through a register goes by a table within its function, but for those registers that linkers
use to reach far functions.
Encodings are those of the Arm Architecture Reference Manuals (ARMv8-M: DDI 0553; ARMv7-A: DDI 0406;
AArch64: DDI 0487). Names of instructions are theirs.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

INDIRECT = "goes elsewhere through a register"
BY_REGISTER = "moves the stack pointer by a register"


class Take(NamedTuple):
    """The stack pointer goes down by ``bytes``."""

    bytes: int


class Call(NamedTuple):
    """A call of the function at ``address``."""

    address: int


class Jump(NamedTuple):
    """A jump to ``address``."""

    address: int


class UnboundedStackError(Exception):
    """Code whose stack has no bound that can be read from it; the text says where and why."""


Effect = Take | Call | Jump
Effects = Iterator[Effect]


def thumb(content: bytes, address: int) -> Effects:
    """Effects of Thumb code that lies at ``address``."""
    halves = struct.unpack(f"<{len(content) // 2}H", content)
    at = 0
    while at < len(halves):
        if halves[at] >> 11 < 0b11101:
            yield from _thumb_16(halves[at], address + 2 * at)
            at += 1
        else:
            low = halves[at + 1] if at + 1 < len(halves) else 0
            yield from _thumb_32(halves[at] << 16 | low, address + 2 * at)
            at += 2


def _thumb_16(word: int, at: int) -> Effects:
    if word & 0xFE00 == 0xB400:  # PUSH
        yield Take(4 * (word & 0x1FF).bit_count())
    elif word & 0xFF80 == 0xB080:  # SUB SP, SP, #
        yield Take(4 * (word & 0x7F))
    elif word & 0xFD87 == 0x4485:  # ADD SP, Rm; MOV SP, Rm
        raise UnboundedStackError(f"{BY_REGISTER} at {at:#x}")
    elif word & 0xFF07 == 0x4700 and word != 0x4770:  # BLX Rm; BX Rm, but for BX LR
        raise UnboundedStackError(f"{INDIRECT} at {at:#x}")
    elif word & 0xF800 == 0xE000:  # B
        yield Jump(at + 4 + 2 * _signed(word, 11))


def _thumb_32(word: int, at: int) -> Effects:
    if word & 0xFFFF0000 == 0xE92D0000:  # PUSH.W
        yield Take(4 * (word & 0xFFFF).bit_count())
    elif word & 0xFFFF0F00 == 0xF84D0D00:  # STR Rt, [SP, #-]!
        yield Take(word & 0xFF)
    elif word & 0xFFFF0000 == 0xE96D0000 or word & 0xFFBF0E00 == 0xED2D0A00:  # STRD!, VPUSH
        yield Take(4 * (word & 0xFF))
    elif word & 0xFBEF8F00 == 0xF1AD0D00:  # SUB.W SP, SP, #
        yield Take(_thumb_immediate(word))
    elif word & 0xFBFF8F00 == 0xF2AD0D00:  # SUBW SP, SP, #
        yield Take(_immediate_12(word))
    elif word & 0xFFEF0F00 in (0xEBAD0D00, 0xEB0D0D00):  # SUB, ADD SP, SP, Rm
        raise UnboundedStackError(f"{BY_REGISTER} at {at:#x}")
    elif word & 0xF800D000 == 0xF000D000:  # BL
        yield Call(at + 4 + _long_offset(word))
    elif word & 0xF800D001 == 0xF000C000:  # BLX
        yield Call((at + 4 & ~3) + _long_offset(word))
    elif word & 0xF800D000 == 0xF0009000:  # B.W
        yield Jump(at + 4 + _long_offset(word))


def _immediate_12(word: int) -> int:
    return (word >> 26 & 1) << 11 | (word >> 12 & 7) << 8 | word & 0xFF


def _thumb_immediate(word: int) -> int:
    """ThumbExpandImm; repeated bytes are no frame that a compiler makes."""
    value = _immediate_12(word)
    if value >> 10 == 0:
        if value >> 8 != 0:
            raise UnboundedStackError("has a frame of repeated bytes")
        return value
    return _rotated(0x80 | value & 0x7F, value >> 7)


def _long_offset(word: int) -> int:
    sign = word >> 26 & 1
    i1, i2 = (~(word >> bit ^ sign) & 1 for bit in (13, 11))
    high, low = word >> 16 & 0x3FF, word & 0x7FF
    return 2 * _signed(sign << 23 | i1 << 22 | i2 << 21 | high << 11 | low, 24)


def arm(content: bytes, address: int) -> Effects:
    """Effects of Arm code that lies at ``address``."""
    for index, word in enumerate(struct.unpack(f"<{len(content) // 4}I", content)):
        yield from _arm_32(word, address + 4 * index)


def _arm_32(word: int, at: int) -> Effects:
    if word & 0xFE000000 == 0xFA000000:  # BLX
        yield Call(at + 8 + 4 * _signed(word, 24) + (word >> 23 & 2))
    elif word >> 28 == 0xF:
        return
    elif word & 0x0FFF0000 == 0x092D0000:  # PUSH
        yield Take(4 * (word & 0xFFFF).bit_count())
    elif word & 0x0FFF0000 == 0x052D0000:  # STR Rt, [SP, #-]!
        yield Take(word & 0xFFF)
    elif word & 0x0FFF00F0 == 0x016D00F0:  # STRD Rt, Rt2, [SP, #-]!
        yield Take(word >> 4 & 0xF0 | word & 0xF)
    elif word & 0x0FBF0E00 == 0x0D2D0A00:  # VPUSH
        yield Take(4 * (word & 0xFF))
    elif word & 0x0FEFF000 == 0x024DD000:  # SUB SP, SP, #
        yield Take(_rotated(word & 0xFF, 2 * (word >> 8 & 0xF)))
    elif word & 0x0FEFF010 in (0x004DD000, 0x008DD000, 0x01A0D000):  # SUB, ADD, MOV SP, Rm
        raise UnboundedStackError(f"{BY_REGISTER} at {at:#x}")
    elif word & 0x0FFFFFD0 == 0x012FFF10 and word & 0x2F != 0xE:  # BLX Rm; BX Rm, but for BX LR
        raise UnboundedStackError(f"{INDIRECT} at {at:#x}")
    elif word & 0x0E000000 == 0x0A000000:  # B, BL
        target = at + 8 + 4 * _signed(word, 24)
        yield Call(target) if word >> 24 & 1 else Jump(target)


def aarch64(content: bytes, address: int) -> Effects:
    """Effects of AArch64 code that lies at ``address``."""
    for index, word in enumerate(struct.unpack(f"<{len(content) // 4}I", content)):
        yield from _aarch64_32(word, address + 4 * index)


def _aarch64_32(word: int, at: int) -> Effects:
    if word & 0x3BC003E0 == 0x298003E0:  # STP Rt, Rt2, [SP, #-]!
        vector, size = word >> 26 & 1, word >> 30
        scale = 4 << size if vector else 4 << size // 2
        yield Take(max(-scale * _signed(word >> 15, 7), 0))
    elif word & 0x3B200FE0 == 0x38000FE0:  # STR Rt, [SP, #-]!
        yield Take(max(-_signed(word >> 12, 9), 0))
    elif word & 0xFF8003FF == 0xD10003FF:  # SUB SP, SP, #
        yield Take((word >> 10 & 0xFFF) << (12 if word >> 22 & 1 else 0))
    elif word & 0xBFE003FF == 0x8B2003FF or word & 0xFF80001F == 0x9200001F:  # SP by a register
        raise UnboundedStackError(f"{BY_REGISTER} at {at:#x}")
    elif word & 0xFFFFFC1F == 0xD63F0000 or word & 0xFFFFFFDF == 0xD61F0200:  # BLR; BR X16, X17
        raise UnboundedStackError(f"{INDIRECT} at {at:#x}")
    elif word & 0x7C000000 == 0x14000000:  # B, BL
        target = at + 4 * _signed(word, 26)
        yield Call(target) if word >> 31 else Jump(target)


def _signed(word: int, bits: int) -> int:
    """The low ``bits`` as a two's complement number."""
    low = word & ((1 << bits) - 1)
    return low - (1 << bits) if low >> (bits - 1) else low


def _rotated(value: int, right: int) -> int:
    return (value >> right | value << 32 - right) & 0xFFFFFFFF


# Readers of code by its mapping symbol: `$t`, `$a`, `$x`.
READERS: dict[str, Callable[[bytes, int], Effects]] = {"t": thumb, "a": arm, "x": aarch64}
