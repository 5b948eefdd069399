"""Record: one run of a module on tensors without numbers, kept as an fx graph.

A dispatch mode sees every aten operation the module's code performs and writes one node for it. In
inference mode torch hands operations over as they were called: ``linear``, not ``addmm`` of a
transpose. Parameters, buffers and other tensors the code reads become ``get_attr`` nodes.

The run is on the ``meta`` device, where tensors have a shape and a type but no numbers: it is
quick, and code whose course depends on samples raises instead of being recorded as if it did not.
To the code the tensors seem to be on the module's own device.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import snntorch
import torch
from torch import Tensor, nn
from torch.fx import Graph, Node
from torch.fx.node import map_aggregate
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from l2mu_compile.errors import ModelError
from l2mu_compile.preserve import preserved
from l2mu_compile.source_lines import calling_line

META = torch.device("meta")

_aten = torch.ops.aten
# Without gradients these return what they are given.
_SAME_VALUE = (_aten.detach.default, _aten.detach_.default, _aten.lift_fresh.default)
_LOOKS = {
    _aten.item.default: "item()",
    _aten._local_scalar_dense.default: "item()",
    _aten.is_nonzero.default: "bool()",
}

_INDEXED = (_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default)
_DEPEND_ON_NUMBERS = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}


def record(module: nn.Module, samples: Tensor) -> tuple[Graph, dict[str, Tensor]]:
    """What ``module(samples)`` does, and the tensors it reads by the target of their nodes.

    The numbers in ``samples`` do not matter. The graph's one placeholder is ``samples``, its output
    what the module returns, with nodes for tensors. A node's ``meta`` holds a tensor without
    numbers (``val``) and the line of code it comes from (``source_line``). Raises what the code
    raises, and torch's own errors where it looks at numbers.
    """
    recorder = _Recorder()
    with preserved(module), torch.inference_mode():
        window = recorder.placeholder("samples", samples)
        for path, child in module.named_modules():
            for tensors in (child._parameters, child._buffers):
                for name, tensor in tensors.items():
                    if tensor is not None:
                        full = f"{path}.{name}" if path else name
                        tensors[name] = recorder.constant(full, tensor)
        before = _neuron_parameters(module)
        with _OwnDevice(samples.device), recorder:
            result = module(window)
        recorder.require_unchanged(before, _neuron_parameters(module))
    recorder.graph.output(pytree.tree_map_only(Tensor, recorder.node, result))
    return recorder.graph, recorder.constants


class _OwnDevice(TorchFunctionMode):
    """Lets tensors without numbers seem to be on ``device``."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = kwargs or {}
        if func == Tensor.device.__get__:
            return self.device
        if func is Tensor.new_tensor:
            return torch.tensor(*args[1:], **{"dtype": args[0].dtype, **options})
        if func is Tensor.tolist:
            raise TypeError("tolist() depends on the numbers in a tensor")
        if func in (Tensor.__getitem__, Tensor.__setitem__):
            args = (args[0], _seen_index(args[1]), *args[2:])
        return func(*args, **options)


class _Recorder(TorchDispatchMode):
    """Writes a node per operation; knows the node of every tensor it has handed out."""

    def __init__(self) -> None:
        super().__init__()
        self.graph = Graph()
        self.constants: dict[str, Tensor] = {}
        self._nodes: dict[int, Node] = {}
        self._stand_ins: dict[int, Tensor] = {}
        self._written: set[int] = set()
        self._alive: list[Tensor] = []  # an id says nothing once its tensor is gone

    def placeholder(self, name: str, value: Tensor) -> Tensor:
        """A tensor without numbers that stands for an input."""
        return self._bind(value.to(META), self.graph.placeholder(name))

    def constant(self, name: str, value: Tensor) -> Tensor:
        """The tensor that stands for a tensor of the module; always the same one for it."""
        if id(value) not in self._stand_ins:
            self.constants[name] = value.detach()
            self._alive.append(value)
            stand_in = value.detach().to(META)
            if isinstance(value, nn.Parameter):
                stand_in = nn.Parameter(stand_in, requires_grad=False)
            node = self.graph.create_node("get_attr", name)
            self._stand_ins[id(value)] = self._bind(stand_in, node)
        return self._stand_ins[id(value)]

    def require_unchanged(self, before: dict[str, Tensor], after: dict[str, Tensor]) -> None:
        """Refuse a forward that gave a neuron other parameters than those it came with."""
        for name, tensor in before.items():
            if after[name] is not tensor or self._is_written(tensor):
                raise ModelError(
                    f"{name} is changed by forward; a neuron's parameters must be fixed"
                )

    def node(self, tensor: Tensor) -> Node:
        """The node that last computed or wrote to ``tensor``."""
        known = self._nodes.get(id(self._stand_in(tensor)))
        if known is None:
            raise TypeError("a tensor is made in a way that cannot be followed")
        return known

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in _INDEXED:
            args = (args[0], self._without_masks(args[1]), *args[2:])
        read, options = map_aggregate((args, kwargs or {}), self._as_node)
        if func in _SAME_VALUE:
            return self._stand_in(args[0])
        if func in _LOOKS:
            known = self._known(args[0])
            if known is None:
                raise TypeError(f"{_LOOKS[func]} depends on the numbers in a tensor")
            return func(known)
        result = self._compute(func, args, kwargs or {})
        node = self._call(func, func.overloadpacket.__name__, read, options)
        node.meta["val"] = result
        if isinstance(result, Tensor):
            return self._bind(result, node)
        for index, part in enumerate(result if isinstance(result, (tuple, list)) else ()):
            if isinstance(part, Tensor):
                self._bind(part, self._call(operator.getitem, "getitem", (node, index), {}))
        return result

    def _known(self, tensor: Tensor) -> Tensor | None:
        """The numbers of a constant that nothing has written to."""
        node = self.node(tensor)
        if node.op != "get_attr" or self._is_written(tensor):
            return None
        return self.constants[str(node.target)]

    def _without_masks(self, indices: Any) -> list[Any]:
        """Indices with constant masks as the places where they are true, whose number is known."""
        found: list[Any] = []
        for index in indices:
            mask = isinstance(index, Tensor) and index.dtype == torch.bool
            known = self._known(index) if mask else None
            if known is None:
                found.append(index)
            else:
                found += [self._stand_in(place) for place in known.nonzero(as_tuple=True)]
        return found

    def _as_node(self, argument: Any) -> Any:
        return self.node(argument) if isinstance(argument, Tensor) else argument

    def _compute(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """What ``func`` returns on the ``meta`` device."""
        tensors = []

        def moved(argument: Any) -> Any:
            if isinstance(argument, torch.device):
                return META
            if isinstance(argument, Tensor):
                tensors.append(self._stand_in(argument))
                return tensors[-1]
            return argument

        args, kwargs = map_aggregate((args, kwargs), moved)
        if func._schema.is_mutable:
            self._written |= {_storage(tensor) for tensor in tensors}
        if not tensors and any(a.name == "device" for a in func._schema.arguments):
            kwargs = {**kwargs, "device": META}
        try:
            return func(*args, **kwargs)
        except (NotImplementedError, RuntimeError) as failure:
            if not set(func.tags) & _DEPEND_ON_NUMBERS:
                raise
            name = func.overloadpacket.__name__
            raise TypeError(f"{name}() depends on the numbers in a tensor") from failure

    def _is_written(self, tensor: Tensor) -> bool:
        return _storage(self._stand_in(tensor)) in self._written

    def _call(self, func: Callable[..., Any], name: str, args: Any, kwargs: Any) -> Node:
        node = self.graph.create_node("call_function", func, args, kwargs, name=name)
        node.meta["source_line"] = calling_line(record.__code__)
        return node

    def _stand_in(self, tensor: Tensor) -> Tensor:
        if id(tensor) in self._nodes or tensor.is_meta:
            return tensor
        if id(tensor) not in self._stand_ins:
            self._alive.append(tensor)
            name = f"constant_{len(self._stand_ins)}"
            self._stand_ins[id(tensor)] = self.constant(name, tensor.detach().clone())
        return self._stand_ins[id(tensor)]

    def _bind(self, tensor: Tensor, node: Node) -> Tensor:
        node.meta["val"] = tensor
        self._nodes[id(tensor)] = node
        self._alive.append(tensor)
        return tensor


def _seen_index(index: Any) -> Any:
    """An index whose lists are tensors: torch would make these where no mode sees it."""
    if isinstance(index, tuple):
        return tuple(map(_seen_index, index))
    if isinstance(index, (list, range, np.ndarray)):
        return torch.tensor(np.asarray(index).tolist())
    return index


def _neuron_parameters(module: nn.Module) -> dict[str, Tensor]:
    names = ("alpha", "beta", "threshold", "graded_spikes_factor")
    return {
        f"{path}.{name}": getattr(neuron, name)
        for path, neuron in module.named_modules()
        if isinstance(neuron, (snntorch.Leaky, snntorch.Synaptic))
        for name in names
        if hasattr(neuron, name)
    }


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
