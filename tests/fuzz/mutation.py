"""Inputs made of others: by bytes, by words of a text, by the members of an archive."""

from __future__ import annotations

import io
import re
import struct
import warnings
import zipfile
from random import Random

_NUMBERS = (
    *("0", "-1", "1", "3", "255", "65536", "2147483647", "2147483648", "9223372036854775807"),
    *("18446744073709551616", "1000000000000", "1e308", "1e999", "-1e999", "nan", "inf", "0.5"),
    *("9" * 400, "9" * 4300, "9" * 5000, "1_000", "0x10", "١٢"),
)
_WORDS = (
    *("../../x", '"', "'", "*/", "\\", "\n", "\r", "\0", "\x1b[2J", "\u2028", "ü", "\ud7ff", "int"),
    *('x;system("id")', "{", "}", "[", "]", "[[", "]]", ":", ",", "=", "@", "#", "->", " ", "null"),
    *("true", "- ", "&a", "*a", "!!python/object:os.system", "a" * 3000, "[" * 500, "{a: " * 300),
    *('{"a":' * 300, "\\ud800", "\\u0000", "%", "${x}", "{{ x }}"),
)
_TOKEN = re.compile(r"[A-Za-z_]+|[0-9.]+|\s+|.", re.DOTALL)
_BLOCKS = (
    *(b"\0" * 8, b"\xff" * 8, b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\x7f", b"\x80", b"\0", b"\xff"),
    *(struct.pack("<Q", 10**12), struct.pack("<Q", 1 << 63), struct.pack("<I", 1 << 20)),
)
MAX_BYTES = 1 << 20


def mutate_bytes(data: bytes, random: Random) -> bytes:
    """A few bytes changed, put in, taken out, or copied from elsewhere."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4, 8))):
        place, size = random.randrange(len(changed) + 1), random.choice((1, 1, 2, 4, 8, 64))
        way = random.randrange(6)
        if way == 0 and place < len(changed):
            changed[place] ^= 1 << random.randrange(8)
        elif way == 1:
            block = random.choice(_BLOCKS)
            changed[place : place + len(block)] = block
        elif way == 2:
            changed[place:place] = random.randbytes(size)
        elif way == 3:
            del changed[place : place + size]
        elif way == 4:
            source = random.randrange(len(changed) + 1)
            changed[place : place + size] = changed[source : source + size]
        elif place < len(changed):
            changed[place] = random.randrange(256)
    return bytes(changed[:MAX_BYTES])


def mutate_text(data: bytes, random: Random) -> bytes:
    """Words and lines of a text changed; now and then any bytes."""
    if random.randrange(16) == 0:
        return mutate_bytes(data, random)
    text, split, rest = data.partition(b"\n--- next file ---\n")
    if split and random.randrange(8) == 0:
        return text + split + mutate_tensors(rest, random)
    lines = text.decode("utf-8", "replace").split("\n")
    for _ in range(random.choice((1, 1, 2, 3))):
        _change_line(lines, random)
    return "\n".join(lines).encode("utf-8", "replace")[:MAX_BYTES] + split + rest


def _change_line(lines: list[str], random: Random) -> None:
    place = random.randrange(len(lines))
    way = random.randrange(8)
    if way == 0:
        lines.insert(random.randrange(len(lines) + 1), lines[place])
    elif way == 1 and len(lines) > 1:
        del lines[place]
    elif way == 2:
        other = random.randrange(len(lines))
        lines[place], lines[other] = lines[other], lines[place]
    else:
        lines[place] = _changed_words(lines, place, random)


def _changed_words(lines: list[str], place: int, random: Random) -> str:
    words = _TOKEN.findall(lines[place]) or [""]
    index = random.randrange(len(words))
    way = random.randrange(5)
    if way == 0:
        words[index] = random.choice(_WORDS)
    elif way == 1:
        words.insert(index, random.choice((*_WORDS, *_NUMBERS)))
    elif way == 2:
        del words[index]
    elif way == 3:
        others = _TOKEN.findall(random.choice(lines)) or [""]
        words[index] = random.choice(others)
    else:
        numbers = [i for i, word in enumerate(words) if word[0:1].isdigit()] or [index]
        words[random.choice(numbers)] = random.choice(_NUMBERS)
    return "".join(words)


def mutate_archive(data: bytes, random: Random) -> bytes:
    """A member of a zip archive changed, lost, doubled or renamed; now and then any bytes."""
    if random.randrange(8) == 0:
        return mutate_bytes(data, random)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(i.filename, archive.read(i)) for i in archive.infolist()]
    except Exception:
        return mutate_bytes(data, random)
    if not members:
        return mutate_bytes(data, random)
    # The pickle and headers, which come first, matter most.
    place = min(random.randrange(len(members)), random.randrange(len(members)))
    name, content = members[place]
    way = random.randrange(12)
    if way == 0:
        del members[place]
    elif way == 1:
        members.append((random.choice(members)[0], content))
    elif way == 2:
        members[place] = (mutate_text(name.encode(), random).decode("utf-8", "replace"), content)
    elif way < 7:
        head = content[:400]
        members[place] = (name, mutate_bytes(head, random) + content[400:])
    else:
        members[place] = (name, mutate_bytes(content, random))
    return _archive(members, random.randrange(8) == 0)


def _archive(members: list[tuple[str, bytes]], packed: bool) -> bytes:
    buffer = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", method) as archive:
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, content in members:
            info = zipfile.ZipInfo(name[:200] or "a")
            info.compress_type = method
            archive.writestr(info, content)
    return buffer.getvalue()


def mutate_tensors(data: bytes, random: Random) -> bytes:
    """The header of a ``.safetensors`` file changed, and its length made right."""
    if len(data) < 8 or random.randrange(8) == 0:
        return mutate_bytes(data, random)
    (size,) = struct.unpack("<Q", data[:8])
    header, rest = data[8 : 8 + size], data[8 + size :]
    if random.randrange(3) == 0:
        return data[: 8 + size] + mutate_bytes(rest, random)
    header = mutate_text(header.replace(b"},", b"},\n"), random)
    return struct.pack("<Q", len(header)) + header + rest
