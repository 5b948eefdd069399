"""Neurons in an ONNX graph: where a membrane is compared with a threshold, there is one.

With the results of those comparisons, the spikes, taken for given, all else is sums. A membrane's
terms are sorted by what they hear of: the membrane of the step before, decayed and perhaps reset;
the neuron's own spikes of the step before times its threshold, a reset too; its synaptic current
of the step before, decayed; everything else is the current of the step. Decays are read off with
ones, resets with spikes; both are checked on random numbers.

In the graph of one step the membrane of the step before is an input, in one of a window the
membrane that the same neuron had there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from l2mu_compile.errors import ModelError
from l2mu_compile.onnx_graph import OnnxGraph, OnnxNode
from l2mu_compile.tensor_files import shown

MAX_TERMS = 1 << 14
MAX_REACH = 1 << 22
SUMS = ("Add", "Sum", "Sub", "Where")

Term = tuple[int, str]


@dataclass(frozen=True, eq=False)
class Update:
    """One step of a neuron: ``membrane`` is made of ``before``, the one of the step before (None
    where that is zero), its ``synapse`` (None for a neuron without) and ``current``, a sum.

    ``alpha``, ``beta`` and ``reset`` are None where there is nothing before.
    """

    membrane: str
    before: str | None
    threshold: Tensor
    arriving: tuple[Term, ...]
    current: tuple[Term, ...]
    beta: Tensor | None = None
    alpha: Tensor | None = None
    synapse: str | None = None
    reset: str | None = None


class Neurons:
    """The neuron updates of a graph, in order; ``at_rest`` is every value for inputs of zero.

    ``fired`` maps results of comparisons to the membrane that is compared. Raises `ModelError`
    naming the node that is in the way.
    """

    def __init__(self, graph: OnnxGraph, at_rest: Mapping[str, Any]) -> None:
        self.graph, self.at_rest = graph, at_rest
        self.made: dict[str, OnnxNode] = {node.output: node for node in graph.nodes}
        self.static = self._static()
        self.fired: dict[str, str] = {}
        self.thresholds: dict[str, Tensor] = {}
        for node in graph.nodes:
            if node.kind in ("Greater", "Less") and node.output not in self.static:
                self._compare(node)
        self.reach: dict[str, frozenset[str]] = {}
        self.heard: dict[str, frozenset[str]] = {}
        self._follow()
        if self._add_shown():
            self._follow()
        self.sample = self._sample()
        self.updates: dict[str, Update] = {}
        for node in graph.nodes:
            if node.output in self.thresholds:
                self.updates[node.output] = self._update(node)
        if not self.updates:
            raise ModelError("has no neuron: nowhere is a membrane greater than a threshold")

    def _static(self) -> set[str]:
        """Values that depend on no number of an input."""
        found = set(self.graph.constants)
        for node in self.graph.nodes:
            if node.kind == "Shape" or all(i is None or i in found for i in node.inputs):
                found.add(node.output)
        return found

    def _compare(self, node: OnnxNode) -> None:
        above, below = node.inputs if node.kind == "Greater" else node.inputs[::-1]
        assert above is not None and below is not None
        if above in self.static or below not in self.static:
            raise ModelError(f"{node} compares what is no membrane with a constant threshold")
        membrane, threshold = above, self.at_rest[below]
        shift = self.made.get(above)
        shifted = shift is not None and shift.kind == "Sub" and shift.inputs[1] in self.static
        if shift is not None and shifted and not bool(threshold.any()):
            membrane, threshold = str(shift.inputs[0]), self.at_rest[str(shift.inputs[1])]
        if not bool((threshold > 0).all()):
            raise ModelError(
                f"{node} compares with a threshold that is not above zero: such a neuron spikes "
                "without input, which is not supported"
            )
        self.fired[node.output] = membrane
        first = self.thresholds.setdefault(membrane, threshold)
        if not torch.equal(first, threshold):
            raise ModelError(f"{node} compares a membrane with a second threshold")

    def _add_shown(self) -> bool:
        """Membranes that are put out and that nothing compares any more, as after a last step."""
        pending, seen = [o for o in self.graph.outputs if o in self.made], set()
        while pending:
            name = pending.pop()
            node, past = self.made[name], self.direct(name)
            if name in seen or name in self.thresholds or name in self.fired:
                continue
            seen.add(name)
            if node.kind not in SUMS:
                pending += [i for i in node.inputs if i in self.made]
            elif len(past & set(self.thresholds)) == 1:
                (before,) = past & set(self.thresholds)
                if self.at_rest[before].shape == self.at_rest[name].shape:
                    self.thresholds[name] = self.thresholds[before]
        return bool(seen)

    def _follow(self) -> None:
        """What every value is made of: inputs and membranes it reaches, spikes it hears of."""
        nothing: frozenset[str] = frozenset()
        total = 0
        self.reach = {name: frozenset({name}) for name in self.graph.inputs}
        for node in self.graph.nodes:
            inputs = [i for i in node.inputs if i is not None]
            if node.output in self.fired:
                self.heard[node.output] = frozenset({self.fired[node.output]})
                self.reach[node.output] = nothing
            elif node.output not in self.static:
                self.reach[node.output] = nothing.union(*map(self.direct, inputs))
                cut = [i for i in inputs if i not in self.thresholds]
                self.heard[node.output] = nothing.union(*(self.heard.get(i, nothing) for i in cut))
                total += len(self.reach[node.output]) + len(self.heard[node.output])
            if total > MAX_REACH:
                raise ModelError(f"{node} is made of too many neurons")

    def direct(self, value: str) -> frozenset[str]:
        """Inputs and membranes that reach ``value`` past no spike."""
        if value in self.thresholds:
            return frozenset({value})
        return self.reach.get(value, frozenset())

    def _sample(self) -> str:
        """The input that is the samples: no membrane, and what weights are multiplied with."""
        names = [name for name in self.graph.inputs if name not in self.thresholds]
        products = [n for n in self.graph.nodes if n.kind in ("Gemm", "MatMul")]
        weighed = {r for n in products for i in n.inputs[:2] if i for r in self.direct(i)}
        found = [n for n in names if n in weighed] if len(names) > 1 else names
        if len(found) != 1:
            raise ModelError(
                f"inputs {', '.join(map(shown, self.graph.inputs))}: which of them are the samples "
                "cannot be told; one input must be multiplied with weights, all others be states"
            )
        return found[0]

    def terms(self, value: str) -> tuple[Term, ...]:
        """What ``value`` is the sum of, with signs; nothing that is zero."""
        found: list[Term] = []
        pending: list[Term] = [(1, value)]
        seen = 0
        while pending:
            sign, name = pending.pop()
            seen += 1
            if seen > MAX_TERMS:
                raise ModelError(f"{self.made[value]}: a sum of more than {MAX_TERMS} terms")
            node = self.made.get(name)
            inside = node is not None and (name == value or name not in self.thresholds)
            if name in self.static:
                if bool(self.at_rest[name].any()):
                    found.append((sign, name))
            elif inside and node is not None and node.kind in ("Add", "Sum", "Sub", "Neg"):
                last = -sign if node.kind in ("Sub", "Neg") else sign
                signs = [*[sign] * (len(node.inputs) - 1), last]
                pending += [(s, str(i)) for s, i in zip(signs, node.inputs, strict=True)][::-1]
            elif not (node is not None and node.kind == "Mul" and self._is_nothing(node)):
                found.append((sign, name))
        return tuple(found)

    def _is_nothing(self, product: OnnxNode) -> bool:
        """True for zero times what is no membrane: there is no reset in the first step."""
        zero = any(i in self.static and not bool(self.at_rest[i].any()) for i in product.inputs)
        reached = frozenset().union(*(self.direct(i) for i in product.inputs if i))
        return zero and not reached & set(self.thresholds)

    def _update(self, node: OnnxNode) -> Update:
        name = node.output
        terms, clamped = self._unclamped(node)
        states = {s for _, v in terms for s in self.direct(v)} - {self.sample}
        before, others = self._before(node, states)
        decays = tuple(t for t in terms if before is not None and before in self.direct(t[1]))
        rest = [t for t in terms if t not in decays]
        threshold = self.thresholds[name]
        if before is None:
            return Update(name, None, threshold, tuple(rest), tuple(rest))
        self._require_late_reset(node, before, rest)
        beta, reset = self._decay(node, before, decays)
        taken = next((t for t in rest if self._takes(t, before, threshold)), None)
        if taken is not None and reset == "none" and not clamped:
            rest.remove(taken)
            reset = "subtract"
        late = [t for t in rest if self._is_synapse(t, before, others)]
        if len(late) > 1:
            raise ModelError(f"{node} adds up two synaptic currents of the step before")
        update = Update(name, before, threshold, tuple(rest), tuple(rest), beta, None, None)
        synapse = self._leaf(late[0][1]) if late else None
        alpha = None
        if late and synapse is not None:
            alpha = self._factor(node, synapse, tuple(late))
            rest.remove(late[0])
        left = {s for _, v in rest for s in self.direct(v)} - {self.sample}
        if left:
            raise ModelError(f"{node} reads a membrane or state of another neuron, {min(left)!r}")
        return Update(
            name, before, threshold, update.arriving, tuple(rest), beta, alpha, synapse,
            "clamp" if clamped else reset,
        )  # fmt: skip

    def _require_late_reset(self, node: OnnxNode, before: str, rest: Sequence[Term]) -> None:
        """Refuse what is made of a membrane of the same step and its spikes alone."""
        spikes = {before, getattr(self.updates.get(before), "before", None)}
        same = self.at_rest[before].shape == self.at_rest[node.output].shape
        if (
            before in self.updates
            and same
            and all(
                self.heard.get(v) and not self.direct(v) and set(self.heard[v]) <= spikes
                for _, v in rest
            )
        ):
            raise ModelError(
                f"{node} resets a membrane in the step of its spike, as snnTorch does with "
                "reset_delay=False, which is not supported; train with reset_delay=True"
            )

    def _unclamped(self, node: OnnxNode) -> tuple[tuple[Term, ...], bool]:
        """A membrane's terms, and whether all of them are held at zero after a spike."""
        if node.kind == "Where" and node.inputs[0] in self.fired:
            _, zero, kept = map(str, node.inputs)
            if zero in self.static and not bool(self.at_rest[zero].any()):
                return self.terms(kept), True
        terms = self.terms(node.output)
        for sign, value in terms:
            product = self.made.get(value)
            if sign < 0 and product is not None and product.kind == "Mul":
                for spikes, base in (product.inputs, product.inputs[::-1]):
                    others = {t for t in terms if t[1] != value}
                    plain = self.heard.get(str(spikes)) and not self.reach.get(str(spikes))
                    if plain and others and set(self.terms(str(base))) == others:
                        return self.terms(str(base)), True
        return terms, False

    def _before(self, node: OnnxNode, states: set[str]) -> tuple[str | None, set[str]]:
        """Which of the states is the neuron's membrane of the step before; the others."""
        membranes = {s for s in states if s in self.thresholds} or self._not_synapses(node, states)
        if len(membranes) > 1:
            names = " and ".join(sorted(map(shown, membranes)))
            raise ModelError(f"{node} is made of two membranes, {names}; a neuron has one")
        before = next(iter(membranes), None)
        return before, states - membranes

    def _not_synapses(self, node: OnnxNode, states: set[str]) -> set[str]:
        """States that no other output of the graph is made of."""
        outputs = set(self.graph.outputs) - {node.output}
        return {s for s in states if not any(s in self.direct(o) for o in outputs)}

    def _decay(self, node: OnnxNode, before: str, decays: Sequence[Term]) -> tuple[Tensor, str]:
        if self.at_rest[before].shape != self.at_rest[node.output].shape:
            raise ModelError(f"{node} is made of the membrane of another neuron, {shown(before)}")
        beta = self._factor(node, before, decays)
        given = torch.randn(self.at_rest[before].shape)
        kept, after = (self._sum(decays, before, given, fired=f) for f in (False, True))
        threshold = self.thresholds[node.output]
        if torch.allclose(after, kept):
            return beta, "none"
        if not bool(after.any()):
            return beta, "zero"
        if torch.allclose(after, beta * (given - threshold), atol=1e-6):
            raise ModelError(
                f"{node} subtracts the threshold before it decays, which cannot be read from ONNX"
            )
        raise ModelError(f"{node} is reset in a way that is not supported")

    def _factor(self, node: OnnxNode, state: str, terms: Sequence[Term]) -> Tensor:
        """What a state is multiplied with, neuron by neuron."""
        shape = self.at_rest[state].shape
        factor = self._sum(terms, state, torch.ones(shape)).expand(shape)
        given = torch.randn(shape)
        if not torch.allclose(self._sum(terms, state, given), factor * given, atol=1e-6):
            raise ModelError(f"{node}: a state of the step before does not simply decay")
        return plain(factor)

    def _takes(self, term: Term, before: str, threshold: Tensor) -> bool:
        """True for a term that is minus the threshold where the neuron spiked before."""
        value = term[1]
        if self.direct(value) or self.heard.get(value) != {before}:
            return False
        given = torch.zeros(self.at_rest[before].shape)
        return all(
            torch.equal(
                self._sum([term], before, given, fired=f).expand(given.shape), -threshold * f
            )
            if f.ndim
            else False
            for f in (torch.rand(given.shape) > 0.5, torch.ones(given.shape) > 0)
        )

    def _is_synapse(self, term: Term, before: str, others: set[str]) -> bool:
        leaf = self._leaf(term[1])
        if leaf is None or leaf == self.sample:
            return False
        if leaf in others:
            return True
        earlier = self.updates.get(before)
        return earlier is not None and set(self.terms(leaf)) == set(earlier.arriving)

    def _leaf(self, value: str) -> str | None:
        """What a product with constants is a multiple of; None for what is no such product."""
        node = self.made.get(value)
        if node is None or node.kind != "Mul":
            return None
        varying = [i for i in node.inputs if i not in self.static]
        return varying[0] if len(varying) == 1 else None

    def _sum(
        self, terms: Sequence[Term], state: str, given: Tensor, fired: Tensor | bool = False
    ) -> Tensor:
        """A sum of terms for a ``given`` state; its neurons have ``fired`` or not."""
        spikes = torch.as_tensor(fired).expand(given.shape)
        known = {state: given} | {g: spikes for g, m in self.fired.items() if m == state}
        total: Any = torch.zeros(())
        for sign, value in terms:
            total = total + sign * self._value(value, known)
        return total

    def _value(self, value: str, known: dict[str, Any]) -> Any:
        pending = [value]
        while pending:
            name = pending[-1]
            if name in known or name in self.static or name not in self.made or name in self.fired:
                known.setdefault(name, self.at_rest[name])
                pending.pop()
                continue
            missing = [i for i in self.made[name].inputs if i is not None and i not in known]
            if missing:
                pending += missing
            else:
                known[name] = self.made[name].run(known)
        return known[value]


def plain(parameter: Tensor) -> Tensor:
    """A parameter without its batch axis, or one number where all are the same."""
    if bool((parameter == parameter.flatten()[0]).all()):
        return parameter.flatten()[0].clone()
    return parameter[0].clone() if parameter.ndim > 1 else parameter.clone()
