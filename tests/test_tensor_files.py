"""Files of tensors: what is read from them, and that hostile ones do no harm."""

from __future__ import annotations

import pickle
import resource
import struct
import time
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from reference_models import CellNet, Options, RawNet, save_state

from l2mu_compile import tensor_files
from l2mu_compile.checkpoint import load_checkpoint
from l2mu_compile.errors import ModelError
from l2mu_compile.tensor_files import read_state_dict, read_tensor_file


def refused(path: Path, match: str, seconds: float = 3.0, megabytes: int = 64) -> None:
    """Loading ends with one line that fits ``match``, soon and in little memory."""
    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelError, match=match) as caught:
        load_checkpoint(path)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert "\n" not in str(caught.value)
    assert time.process_time() - start < seconds
    assert grown < megabytes * 1024


def edited(path: Path, edit, compression: int = zipfile.ZIP_STORED) -> None:
    """Rewrite an archive with ``edit(name, data)`` in place of each member's data."""
    with zipfile.ZipFile(path) as archive:
        members = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, edit(name, data))


def with_pickle(path: Path, data: bytes) -> None:
    """A torch archive around the operations of a pickle of our own."""
    torch.save({"e_x": torch.ones(2, 2)}, path)
    edited(path, lambda name, old: data if name.endswith("data.pkl") else old)


# ---- what is read ----


def test_read_state_dict_renames_nothing(tmp_path):
    net = CellNet()
    torch.save(net.checkpoint("model."), tmp_path / "last.ckpt")
    found = read_state_dict(tmp_path / "last.ckpt")
    assert set(found) == {f"model.{key}" for key in net.state_dict()}
    assert torch.equal(found["model.l2mu_cell.e_x.weight"], net.l2mu_cell.e_x.weight)


@pytest.mark.parametrize("name", [None, "state_dict", "model_state_dict", "net"])
def test_read_state_dict_of_any_module(tmp_path, name):
    state = {"fc.weight": torch.ones(2, 3), "lif.beta": torch.tensor(0.5)}
    content = state if name is None else {name: state, "optimizer": {"lr": 0.1}, "epoch": 3}
    torch.save(content, tmp_path / "net.pt")
    assert read_state_dict(tmp_path / "net.pt").keys() == state.keys()
    torch.save({"a": state, "same": state}, tmp_path / "net.pt")
    assert read_state_dict(tmp_path / "net.pt").keys() == state.keys()
    torch.save({"a": state, "b": dict(state)}, tmp_path / "net.pt")
    with pytest.raises(ModelError, match=r"more than one state_dict to choose from: 'a', 'b'"):
        read_state_dict(tmp_path / "net.pt")


def test_plain_values_beside_tensors_are_read(tmp_path):
    values = {
        "counter": Counter(a=3),
        "ordered": OrderedDict(b=(1, 2.5, None, True)),
        "set": {1, 2},
        "bytes": b"\x00\xff",
        "dtype": torch.float16,
        "size": torch.Size([1, 2]),
        "device": torch.device("cpu"),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "unsigned": torch.ones(2, dtype=torch.uint16),
        "text": "β",
    }
    torch.save(values, tmp_path / "net.pt")
    found = read_tensor_file(tmp_path / "net.pt").content
    assert found.keys() == values.keys()
    assert found["ordered"]["b"] == (1, 2.5, None, True)
    assert torch.equal(found["half"], values["half"])


def test_tensors_that_share_memory(tmp_path):
    whole = torch.arange(12.0)
    state = {"e_x": whole.view(3, 4), "tied": whole.view(3, 4), "row": whole[4:8]}
    torch.save(state, tmp_path / "net.pt")
    found = read_state_dict(tmp_path / "net.pt")
    assert torch.equal(found["row"], torch.arange(4.0, 8.0))
    assert torch.equal(found["tied"], found["e_x"])


# ---- what needs code ----


class Runs:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_loading_runs_no_code(tmp_path):
    torch.save({"e_x": Runs(tmp_path / "ran")}, tmp_path / "net.pt")
    refused(tmp_path / "net.pt", "cannot be loaded without running code: it needs")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (np.float64(0.9), r"numpy\._?core\.multiarray\.scalar"),
        (np.ones(3), r"numpy\._?core\.multiarray\._reconstruct"),
        (Path("data"), r"pathlib\.\w*PosixPath"),
        (torch.nn.CrossEntropyLoss(), r"torch\.nn\.modules\.loss\.CrossEntropyLoss"),
        (bytearray(3), "builtin.*bytearray"),
    ],
)
def test_values_that_need_code_are_named_with_a_remedy(tmp_path, value, name):
    content = CellNet().checkpoint()
    content["hyper_parameters"]["params"]["lr"] = value
    torch.save(content, tmp_path / "last.ckpt")
    refused(tmp_path / "last.ckpt", rf"it needs .*{name}.*weights_only=False.*float\(value\)")


def test_bare_pickle(tmp_path):
    (tmp_path / "net.pt").write_bytes(pickle.dumps({"e_x": [1.0]}, protocol=2))
    refused(tmp_path / "net.pt", "without running code: it is a bare pickle")
    torch.save(RawNet().state_dict(), tmp_path / "net.pt", _use_new_zipfile_serialization=False)
    refused(tmp_path / "net.pt", "it is a bare pickle; .* save it with torch.save")


# ---- hostile archives ----


def claims(path, old: bytes, new: bytes) -> None:
    torch.save({"e_x": torch.arange(77.0)}, path)

    def edit(name, data):
        if not name.endswith("data.pkl"):
            return data
        assert old in data
        return data.replace(old, new)

    edited(path, edit)


def huge_storage(path):
    claims(path, b"KMt", b"J" + struct.pack("<i", 1 << 30) + b"t")


def huge_size(path):
    claims(path, b"KM\x85", b"J" + struct.pack("<i", 1 << 30) + b"\x85")


def negative_size(path):
    claims(path, b"KM\x85", b"J" + struct.pack("<i", -77) + b"\x85")


def negative_stride(path):
    claims(path, b"K\x01\x85", b"J" + struct.pack("<i", -1) + b"\x85")


def beyond_the_end(path):
    claims(path, b"QK\x00", b"QKM")


def many_views(path):
    whole = torch.zeros(1 << 18, dtype=torch.float16)
    torch.save({f"e_x.{i}": whole.view(1 << 18) for i in range(500)} | {"e_x": whole}, path)


def deep_key(path):
    with_pickle(path, b"\x80\x02})" + b"\x85" * 1_000_000 + b"K\x01s.")


def deep_values(path):
    depth = 100_000
    keys, values = b"}X\x01\x00\x00\x00a" * depth, b"s" * depth
    with_pickle(path, b"\x80\x02" + keys + b"K\x01" + values + b".")


def long_pickle(path):
    with_pickle(path, b"\x80\x02]" + b"K\x01a" * (1 << 20) + b".")


def bytes_of_nothing(path):
    with_pickle(path, b"\x80\x02c__builtin__\nbytearray\nJ\xff\xff\xff\x7f\x85R.")


def expanded_copy(path):
    name = b"ctorch._utils\n_rebuild_device_tensor_from_cpu_tensor\n"
    with_pickle(path, b"\x80\x02" + name + b")R.")


def holds_itself(path):
    with_pickle(path, b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.")


def lower_case(path, *names: str) -> None:
    """Attributes that no pickler would write: put there under other names, then renamed."""

    def edit(name, data):
        for attribute in names if name.endswith("data.pkl") else ():
            assert attribute.upper().encode() in data
            data = data.replace(attribute.upper().encode(), attribute.encode())
        return data

    edited(path, edit)


def shadowed_methods(path):
    names = ("items", "values", "keys", "get")
    content = OrderedDict(e_x=torch.ones(2, 2))
    vars(content).update({name.upper(): 3 for name in names})
    torch.save(content, path)
    lower_case(path, *names)


def shadowed_tensor(path):
    names = ("is_complex", "detach", "untyped_storage")
    tensor = torch.ones(2, 2)
    vars(tensor).update({name.upper(): 3 for name in names})
    torch.save({"e_x": tensor}, path)
    lower_case(path, *names)


def same_names(path):
    torch.save({"e_x": torch.ones(2, 2)}, path)
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("net/data.pkl", b"\x80\x02}.")


def compressed(path):
    torch.save({"e_x": torch.zeros(1 << 12)}, path)
    edited(path, lambda name, data: data, zipfile.ZIP_DEFLATED)


def overlapping(path):
    """One member's data listed many times: every entry of the directory points to it."""
    torch.save({"e_x": torch.zeros(1 << 12)}, path)
    with zipfile.ZipFile(path, "a") as archive:
        first = archive.getinfo("net/data/0")
        for i in range(1000):
            entry = zipfile.ZipInfo(f"net/data/x{i}")
            entry.header_offset, entry.file_size = first.header_offset, first.file_size
            entry.compress_size, entry.CRC = first.compress_size, first.CRC
            archive.filelist.append(entry)
            archive.NameToInfo[entry.filename] = entry
        archive._didModify = True


def encrypted(path):
    torch.save({"e_x": torch.ones(2, 2)}, path)
    data = bytearray(path.read_bytes())
    data[data.rindex(b"PK\x01\x02", 0, data.index(b"net/data.pkl", 200)) + 8] |= 1
    path.write_bytes(data)


def wild_names(path):
    torch.save(RawNet().state_dict() | {"\x1b[2J\n\x00" * 500: torch.ones(1)}, path)


HOSTILE = {
    huge_storage: "record size .* does not match",
    huge_size: "not a readable torch checkpoint",
    negative_size: "not a readable torch checkpoint",
    negative_stride: "not a readable torch checkpoint",
    beyond_the_end: "not a readable torch checkpoint",
    many_views: "its tensors have [0-9]+ bytes, the file only",
    deep_key: "more than 20000 tuples",
    deep_values: "not an L2MU",
    long_pickle: "holds [0-9]+ bytes besides tensors, at most 1048576",
    bytes_of_nothing: "without running code: it needs .*bytearray",
    expanded_copy: "it needs torch._utils._rebuild_device_tensor_from_cpu_tensor",
    holds_itself: "not an L2MU",
    shadowed_methods: "missing key 'e_h'",
    shadowed_tensor: "missing key 'e_h'",
    same_names: "members with the same name",
    compressed: "unpacks to .*: torch.save does not compress",
    overlapping: "unpacks to",
    encrypted: "not a readable torch checkpoint",
    wild_names: r"unexpected key '\\x1b\[2J\\n\\x00.*\.\.\.",
}


@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
def test_hostile_archives(tmp_path, make):
    make(tmp_path / "net.pt")
    refused(tmp_path / "net.pt", HOSTILE[make])


def test_file_that_may_not_be_read(tmp_path, monkeypatch):
    save_state(RawNet().state_dict(), tmp_path / "net.pt")

    def no_permission(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", no_permission)
    with pytest.raises(ModelError, match=r"net\.pt: cannot be read: Permission denied"):
        load_checkpoint(tmp_path / "net.pt")


def test_files_larger_than_any_model(tmp_path, monkeypatch):
    save_state(RawNet().state_dict(), tmp_path / "net.pt")
    monkeypatch.setattr(tensor_files, "MAX_FILE_BYTES", 1000)
    refused(tmp_path / "net.pt", "larger than 1000 bytes")


# ---- damaged files ----


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, bytes]:
    """Files that load, by the suffix that says how they are read."""
    folder = tmp_path_factory.mktemp("whole")
    torch.save(CellNet().checkpoint(), folder / "net.ckpt")
    torch.save(RawNet(Options("stacked", "synaptic")).state_dict(), folder / "net.pt")
    save_state(RawNet(Options("stacked")).state_dict(), folder / "net.safetensors")
    return {path.suffix: path.read_bytes() for path in folder.iterdir()}


def loads_or_is_refused(path: Path) -> None:
    try:
        load_checkpoint(path)
    except ModelError as error:
        assert "\n" not in str(error)


BYTES = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4)
SETTINGS = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def overwritten(data: bytes, changes: list[tuple[float, int]]) -> bytes:
    changed = bytearray(data)
    for where, value in changes:
        changed[int(where * len(changed))] = value
    return bytes(changed)


@SETTINGS
@given(
    suffix=st.sampled_from([".ckpt", ".pt", ".safetensors"]),
    changes=BYTES,
    kept=st.one_of(st.just(1.0), st.floats(0, 1)),
)
def test_damaged_files(tmp_path, whole, suffix, changes, kept):
    data = overwritten(whole[suffix], changes)
    (tmp_path / f"x{suffix}").write_bytes(data[: int(kept * len(data))])
    loads_or_is_refused(tmp_path / f"x{suffix}")


@SETTINGS
@given(changes=BYTES)
def test_damaged_headers_of_safetensors(tmp_path, whole, changes):
    data = whole[".safetensors"]
    end = 8 + struct.unpack("<Q", data[:8])[0]
    (tmp_path / "x.safetensors").write_bytes(overwritten(data[:end], changes) + data[end:])
    loads_or_is_refused(tmp_path / "x.safetensors")


@SETTINGS
@given(
    suffix=st.sampled_from([".ckpt", ".pt"]),
    changes=BYTES,
    copy=st.tuples(*[st.floats(0, 1)] * 3),
)
def test_damaged_pickles(tmp_path, whole, suffix, changes, copy):
    """Whole archives around a pickle with some operations changed and some repeated elsewhere."""

    def edit(name, data):
        if not name.endswith("data.pkl"):
            return data
        first, last, to = (int(x * len(data)) for x in copy)
        return overwritten(data[:to] + data[first:last][:50] + data[to:], changes)

    path = tmp_path / f"x{suffix}"
    path.write_bytes(whole[suffix])
    edited(path, edit)
    loads_or_is_refused(path)
