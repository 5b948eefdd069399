"""Read what was built: memory footprints and symbols of ELF files and static archives."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass
from functools import lru_cache, wraps
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

from elftools.elf.constants import P_FLAGS, SH_FLAGS
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection

from l2mu_compile.errors import ToolchainError

STACK_SECTION = ".stack"

_ARCHIVE_MAGIC = b"!<arch>\n"
_MEMBER_HEADER_BYTES = 60
_KEPT_FILES = 4

Found = TypeVar("Found")
Options = ParamSpec("Options")


class Symbol(NamedTuple):
    """A defined symbol: ``address`` (without Thumb's code bit), ``size`` in bytes, and kind."""

    address: int
    size: int
    is_function: bool


class Code(NamedTuple):
    """Bytes of one instruction set (``t`` Thumb, ``a`` Arm, ``x`` AArch64), or ``d`` data between
    them, from ``address``."""

    address: int
    kind: str
    content: bytes

    @property
    def end(self) -> int:
        """First address after it."""
        return self.address + len(self.content)


class Extent(NamedTuple):
    """Memory of a running image: ``size`` bytes from ``address``."""

    address: int
    size: int
    is_code: bool
    is_writable: bool


@dataclass(frozen=True)
class Footprint:
    """Memory in bytes: ``flash`` holds code, constants and initial values; ``ram`` holds variables.

    ``stack`` is the reserve of a firmware image and is not part of ``ram``. ``sections`` has the
    size of every section that takes memory.
    """

    flash: int
    ram: int
    stack: int
    sections: dict[str, int]


def _of_elf_files(read: Callable[Options, Found]) -> Callable[Options, Found]:
    """``read``, with whatever a damaged file makes of it as a ToolchainError.

    What it found in the last few files is kept as long as they hold the same.
    """

    @lru_cache(maxsize=_KEPT_FILES)
    def kept(_content: bytes, options: Any, named: Any) -> Found:
        return read(*options, **dict(named))

    @wraps(read)
    def checked(*options: Options.args, **named: Options.kwargs) -> Found:
        path = options[0]
        try:
            return copy(kept(Path(str(path)).read_bytes(), options, tuple(named.items())))
        except ToolchainError:
            raise
        except OSError as error:
            raise ToolchainError(f"cannot read {path}: {error.strerror}") from error
        except Exception as error:
            raise ToolchainError(f"{path} is not an ELF file that can be read: {error}") from error

    return checked


@_of_elf_files
def footprint(path: Path) -> Footprint:
    """The footprint of an ELF file, or the sum over the objects of a static archive.

    An archive's sum is an upper bound: a link leaves out what is not used. Raises ToolchainError
    for a file that is missing or is neither.
    """
    flash = ram = stack = 0
    sections: dict[str, int] = {}
    for elf in _elf_files(path):
        for section in _allocated(elf):
            name, size = section.name, int(section["sh_size"])
            sections[name] = sections.get(name, 0) + size
            stored = section["sh_type"] != "SHT_NOBITS"
            writable = bool(section["sh_flags"] & SH_FLAGS.SHF_WRITE)
            is_stack = name == STACK_SECTION
            flash += size if stored else 0
            ram += size if (writable or not stored) and not is_stack else 0
            stack += size if is_stack else 0
    return Footprint(flash, ram, stack, dict(sorted(sections.items())))


@_of_elf_files
def symbols(path: Path) -> dict[str, Symbol]:
    """Functions and variables defined in an ELF file, by name; raises ToolchainError as above."""
    found: dict[str, Symbol] = {}
    for elf in _elf_files(path):
        table: Any = elf.get_section_by_name(".symtab") or elf.get_section_by_name(".dynsym")
        is_arm = elf["e_machine"] == "EM_ARM"
        for symbol in table.iter_symbols() if table is not None else ():
            kind = symbol["st_info"]["type"]
            defined = symbol["st_shndx"] != "SHN_UNDEF"
            if not defined or kind in ("STT_FILE", "STT_SECTION") or symbol.name[:1] in ("", "$"):
                continue
            is_function = kind == "STT_FUNC"
            address = int(symbol["st_value"])
            address &= ~1 if is_function and is_arm else ~0
            found[symbol.name] = Symbol(address, int(symbol["st_size"]), is_function)
    return found


@_of_elf_files
def functions(path: Path) -> list[tuple[int, int, str]]:
    """Every function of an ELF file as (address, end, name), in order; raises ToolchainError."""
    found = []
    for elf in _elf_files(path):
        thumb = 1 if elf["e_machine"] == "EM_ARM" else 0
        for symbol in _static_symbols(elf):
            if symbol["st_info"]["type"] == "STT_FUNC" and symbol["st_shndx"] != "SHN_UNDEF":
                start = int(symbol["st_value"]) & ~thumb
                found.append((start, start + int(symbol["st_size"]), str(symbol.name)))
    return sorted(found)


@_of_elf_files
def code(path: Path) -> list[Code]:
    """The code of an Arm or AArch64 ELF image in order of address, as its mapping symbols tell what
    is what, and nothing of another's, whose marks mean other things; ToolchainError."""
    found = []
    for elf in _elf_files(path):
        if elf["e_machine"] not in ("EM_ARM", "EM_AARCH64"):
            continue
        marks: dict[int, dict[int, str]] = {}
        for symbol in _static_symbols(elf):
            if symbol.name[:1] == "$":
                section = marks.setdefault(symbol["st_shndx"], {})
                section[int(symbol["st_value"])] = symbol.name[1:2]
        for index, kinds in marks.items():
            section = elf.get_section(index)
            start, content = int(section["sh_addr"]), section.data()
            places = [*sorted(kinds), start + len(content)]
            found += [
                Code(a, kinds[a], content[a - start : b - start]) for a, b in pairwise(places)
            ]
    return sorted(found)


@_of_elf_files
def segments(path: Path) -> list[tuple[int, int, bytes]]:
    """Loadable contents as (address in flash, address when running, bytes); ToolchainError."""
    return [
        (int(segment["p_paddr"]), int(segment["p_vaddr"]), segment.data())
        for elf in _elf_files(path)
        for segment in elf.iter_segments()
        if segment["p_type"] == "PT_LOAD" and segment["p_filesz"] > 0
    ]


@_of_elf_files
def extents(path: Path) -> list[Extent]:
    """The memory that loadable contents take when running, in order of address; ToolchainError."""
    found = [
        Extent(
            int(segment["p_vaddr"]),
            int(segment["p_memsz"]),
            bool(segment["p_flags"] & P_FLAGS.PF_X),
            bool(segment["p_flags"] & P_FLAGS.PF_W),
        )
        for elf in _elf_files(path)
        for segment in elf.iter_segments()
        if segment["p_type"] == "PT_LOAD" and segment["p_memsz"] > 0
    ]
    return sorted(found)


@_of_elf_files
def relocated(path: Path, *, complete: bool = True) -> list[tuple[int, int]]:
    """Words of a shared library to fill in when it lies at address 0: (address, value).

    Raises ToolchainError as above, and for a library that needs symbols of others, unless it need
    not be ``complete``: then those have no address.
    """
    return [word for elf in _elf_files(path) for word in _relative_words(elf, path, complete)]


def _relative_words(elf: Any, path: Path, complete: bool) -> Iterator[tuple[int, int]]:
    for section in elf.iter_sections():
        if not isinstance(section, RelocationSection) or not section["sh_flags"]:
            continue
        for relocation in section.iter_relocations():
            if relocation["r_info_sym"]:
                if complete:
                    raise ToolchainError(f"{path} needs symbols of other libraries")
                yield int(relocation["r_offset"]), 0
            elif relocation.is_RELA():
                yield int(relocation["r_offset"]), int(relocation["r_addend"])


@_of_elf_files
def entry_point(path: Path) -> int:
    """The address where an ELF file starts to run; raises ToolchainError as above."""
    return int(next(_elf_files(path))["e_entry"])


def _static_symbols(elf: Any) -> Iterator[Any]:
    table = elf.get_section_by_name(".symtab")
    return iter(()) if table is None else table.iter_symbols()


def _allocated(elf: Any) -> Iterator[Any]:
    for section in elf.iter_sections():
        if section["sh_flags"] & SH_FLAGS.SHF_ALLOC and section["sh_size"] > 0:
            yield section


def _elf_files(path: Path) -> Iterator[Any]:
    content = path.read_bytes()
    parts = _members(content) if content.startswith(_ARCHIVE_MAGIC) else [content]
    for part in parts:
        yield ELFFile(io.BytesIO(part))


def _members(archive: bytes) -> Iterator[bytes]:
    """The files in a Unix archive, without its symbol and name tables."""
    position = len(_ARCHIVE_MAGIC)
    while position + _MEMBER_HEADER_BYTES <= len(archive):
        header = archive[position : position + _MEMBER_HEADER_BYTES]
        start = position + _MEMBER_HEADER_BYTES
        size = int(header[48:58])
        if header[:16].rstrip() not in (b"/", b"//", b"/SYM64/"):
            yield archive[start : start + size]
        position = start + size + size % 2
