"""plan-memory: every array of a step gets its place in one arena."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from l2mu_compile.buffers import Need, needs
from l2mu_compile.network import CTYPE_BYTES, Buffer, Network
from l2mu_compile.passbase import Context, Pass


@dataclass(frozen=True)
class PlanMemory(Pass):
    """Requires kernels to be chosen; places every buffer, last pass of a pipeline; exact.

    State comes first, widest elements first, so no padding is needed. Scratch follows: largest
    first, each at the lowest offset where nothing that lives at the same time is in the way.
    """

    name: ClassVar[str] = "plan-memory"
    idempotent: ClassVar[bool] = True
    exact: ClassVar[bool] = True

    def apply(self, network: Network, context: Context) -> Network:
        if network.stage == "planned":
            return network
        required = needs(network)
        state = [need for need in required if need.lifetime == "state"]
        state.sort(key=lambda need: -CTYPE_BYTES[need.ctype])
        placed: list[tuple[Need, Buffer]] = []
        end = 0
        for need in state:
            placed.append((need, _at(need, end)))
            end += need.bytes
        scratch = [need for need in required if need.lifetime == "scratch"]
        for need in sorted(scratch, key=lambda need: -need.bytes):
            placed.append((need, _lowest(need, end, placed)))
        buffers = sorted((b for _, b in placed), key=lambda b: (b.offset, b.name))
        return network.replace(buffers=tuple(buffers), stage="planned")


def _lowest(need: Need, base: int, placed: list[tuple[Need, Buffer]]) -> Buffer:
    rivals = [buffer for other, buffer in placed if other.lives_with(need)]
    candidates = [base, *(buffer.end for buffer in rivals if buffer.end > base)]
    for offset in sorted(candidates):
        buffer = _at(need, offset)
        if not any(buffer.overlaps(rival) for rival in rivals):
            return buffer
    raise AssertionError("unreachable: after the last rival there is always room")


def _at(need: Need, offset: int) -> Buffer:
    return Buffer(need.name, need.ctype, need.count, offset, need.lifetime)
