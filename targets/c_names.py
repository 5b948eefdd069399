"""The names that generated C has already: no model may define one of them again.

Both sides are read from the C files and templates themselves, so there is no list to keep.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from l2mu_compile.errors import ModelError
from l2mu_compile.targets.kernel_table import KERNEL_DIR

_FOLDERS = (Path(__file__).parent / "runtime", Path(__file__).parent / "templates")
_C_FILE = re.compile(r"\.(c|h|ino)(\.jinja)?$")

# Headers of C, of POSIX, and those that C libraries' own include: a model's must not be found in
# their place.
SYSTEM_HEADERS = frozenset(
    """alloca assert byteswap complex ctype dirent dlfcn endian errno fcntl features fenv float
    fnmatch getopt glob grp ieeefp inttypes iso646 langinfo libgen limits locale malloc math memory
    newlib poll pthread pwd regex sched semaphore setjmp signal spawn stdalign stdarg stdatomic
    stdbool stddef stdint stdio stdlib stdnoreturn string strings syslog termios tgmath threads time
    uchar unistd utime wchar wctype xlocale""".split()
)

# Files that are written beside a model's own, from templates.
WRITTEN_FILES = frozenset({"board_main", "l2mu_jni_model", "l2mu_model"})

_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
# Members of a struct share their names with nothing.
_MEMBERS = re.compile(r"typedef struct \{[^}]*\}|(?:->|\.)\w+")
_INSERTED = re.compile(r"\{\{ (?:name|NAME) \}\}(?P<suffix>_\w+)?")
_WORD = re.compile(r"[A-Za-z_]\w*")


def refuse_taken_names(name: str) -> None:
    """Raise `ModelError` if a model of this name had a file or a name in C that there is already.

    The model's are its header and sources, and whatever starts with its name.
    """
    if name.lower() in SYSTEM_HEADERS | own_files():
        raise ModelError(
            f"network {name}: its files would take the name of other C files; give another --name"
        )
    for taken in sorted(names_of_model(name) & own_names()):
        raise ModelError(
            f"network {name}: its {taken} would be another one's name in C; give another --name"
        )


@cache
def own_files() -> frozenset[str]:
    """The stems of the C files and headers that may lie beside a model's."""
    fixed = (path for path in _own_c() if path.suffix != ".jinja")
    return WRITTEN_FILES | {path.stem for path in fixed}


@cache
def own_names() -> frozenset[str]:
    """Every identifier in this package's C, but for those a model's name is inserted into."""
    words: set[str] = set()
    for path in _own_c():
        code = _MEMBERS.sub(" ", _INSERTED.sub(" ", _code(path)))
        words.update(_WORD.findall(code))
    return frozenset(words)


def names_of_model(name: str) -> frozenset[str]:
    """Every identifier that starts with a model's name, in small or in capital letters."""
    return frozenset(start + suffix for suffix in _suffixes() for start in (name, name.upper()))


@cache
def _suffixes() -> frozenset[str]:
    found = (match["suffix"] for path in _own_c() for match in _INSERTED.finditer(_code(path)))
    return frozenset(suffix for suffix in found if suffix)


@cache
def _own_c() -> tuple[Path, ...]:
    files = (path for folder in (KERNEL_DIR, *_FOLDERS) for path in folder.rglob("*"))
    return tuple(sorted(path for path in files if _C_FILE.search(path.name)))


def _code(path: Path) -> str:
    return _COMMENT.sub(" ", path.read_text(encoding="utf-8"))
