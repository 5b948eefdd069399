"""What goes into a microcontroller's flash, in the two forms that programmers take."""

from __future__ import annotations

from pathlib import Path

from l2mu_compile.errors import ToolchainError
from l2mu_compile.targets.elf import entry_point, segments
from l2mu_compile.targets.record import Region

ERASED = 0xFF
_RECORD_BYTES = 16
_DATA, _END, _UPPER_ADDRESS, _START_ADDRESS = 0x00, 0x01, 0x04, 0x05


def flash_contents(image: Path, flash: Region) -> bytes:
    """What an ELF image puts into ``flash``, from its start to the last byte used.

    Gaps are as if erased. Raises ToolchainError for a file that is no ELF file or has nothing
    there.
    """
    parts = [(at - flash.origin, data) for at, _, data in segments(image) if at in flash]
    if not parts:
        raise ToolchainError(f"{image} has nothing in the flash at {flash.origin:#x}")
    content = bytearray([ERASED]) * max(offset + len(data) for offset, data in parts)
    for offset, data in parts:
        content[offset : offset + len(data)] = data
    return bytes(content)


def intel_hex(contents: bytes, address: int, start: int) -> str:
    """``contents`` at ``address`` as Intel HEX records; a program begins at ``start``.

    Intel Corporation, "Hexadecimal Object File Format Specification", revision A, 1988.
    """
    lines, upper = [], None
    for offset in range(-(address % _RECORD_BYTES), len(contents), _RECORD_BYTES):
        data = contents[max(offset, 0) : offset + _RECORD_BYTES]
        place = address + max(offset, 0)
        if place >> 16 != upper:
            upper = place >> 16
            lines.append(_record(_UPPER_ADDRESS, 0, upper.to_bytes(2, "big")))
        lines.append(_record(_DATA, place & 0xFFFF, data))
    lines.append(_record(_START_ADDRESS, 0, start.to_bytes(4, "big")))
    lines.append(_record(_END, 0, b""))
    return "\n".join(lines) + "\n"


def write_flash_images(image: Path, flash: Region) -> None:
    """Write ``.bin`` and ``.hex`` files beside an ELF image; raises ToolchainError as above."""
    contents = flash_contents(image, flash)
    image.with_suffix(".bin").write_bytes(contents)
    text = intel_hex(contents, flash.origin, entry_point(image))
    image.with_suffix(".hex").write_text(text, encoding="ascii", newline="\n")


def _record(kind: int, address: int, data: bytes) -> str:
    fields = bytes([len(data)]) + address.to_bytes(2, "big") + bytes([kind]) + data
    checksum = -sum(fields) & 0xFF
    return f":{(fields + bytes([checksum])).hex().upper()}"
