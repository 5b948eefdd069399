"""Networks to read: their text form with arrays written below, and what passes make of it."""

from __future__ import annotations

import json
import re
import textwrap

import numpy as np
from networks import PORTABLE

from l2mu_compile.network import (
    SENSOR_ARRAYS,
    Network,
)
from l2mu_compile.passbase import Context, Pass
from l2mu_compile.text import parse, to_text
from l2mu_compile.text_values import digest
from l2mu_compile.verify import verify

PARAMETERS = ("alpha", "beta", "threshold", "bias", "shift", "quantum", *SENSOR_ARRAYS)


def show(network: Network) -> str:
    """The text form without digests, then every array: ``h.x = [[1.0, 0.0]]``."""
    text = re.sub(r"#[0-9a-f]{12}", "", to_text(network))
    arrays = [f"{name} = {json.dumps(a.tolist())}" for name, a in network.tensors().items()]
    return "\n".join([text.rstrip(), *arrays]) + "\n"


def read(text: str) -> Network:
    """What `show` wrote; integers are int8 in weights and int32 elsewhere."""
    lines = textwrap.dedent(text).strip().splitlines()
    tensors = {}
    for name, _, value in (line.partition(" = ") for line in lines if " = " in line):
        array = np.array(json.loads(value))
        integer = np.int32 if name.rpartition(".")[2] in PARAMETERS else np.int8
        tensors[name] = array.astype(integer if array.dtype.kind == "i" else np.float32)

    def with_digest(match: re.Match[str]) -> str:
        return f"@{match[1]}#{digest(tensors[match[1]])}"

    body = "\n".join(line for line in lines if " = " not in line)
    return parse(re.sub(r"@([a-z][\w.]*)", with_digest, body), tensors)


def applied(item: Pass, network: Network, context: Context | None = None) -> Network:
    """``network`` after a pass, which must be pure and change nothing when run again."""
    context = context or Context(target=PORTABLE)
    before = show(network)
    after = item.apply(network, context)
    assert show(network) == before, "a pass changed its argument"
    verify(after)
    assert item.apply(after, context) is after, "a second run is not a no-op"
    return after


def assert_becomes(item: Pass, before: str, after: str, context: Context | None = None) -> None:
    """``item`` turns the network written ``before`` into the one written ``after``."""
    assert show(applied(item, read(before), context)) == textwrap.dedent(after).lstrip()
