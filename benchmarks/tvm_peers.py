"""The benchmark networks compiled by TVM's Relax, a call of its virtual machine for each step."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx_peers import StepGraph, model_of
from peers import Classify

from l2mu_compile.network import Network

# The loop over a matrix product's outputs is cut for vectors: 64 floats, or 16 where that is all.
WIDE, NARROW = 64, 16


def with_tvm(network: Network) -> Classify:
    """As TVM compiles it by default: every operator becomes plain loops for LLVM."""
    return _steps(network, scheduled=False)


def with_tvm_schedule(network: Network) -> Classify:
    """Operators fused, and in every matrix-vector product the outputs innermost, as vectors."""
    return _steps(network, scheduled=True)


def _steps(network: Network, scheduled: bool) -> Classify:
    import tvm
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx

    graph = StepGraph(network)
    module = from_onnx(model_of(graph.body("step")), keep_params_in_input=False)
    if scheduled:
        module = _with_vectors(module)
    target = tvm.target.Target({"kind": "llvm", "mcpu": _processor()})
    step = relax.VirtualMachine(tvm.compile(module, target=target), tvm.cpu())["main"]
    zeros = [tvm.runtime.tensor(np.zeros(graph.sizes[s], np.float32)) for s in graph.states]

    def classify(window: NDArray) -> NDArray:
        states = zeros
        counts = np.zeros(network.classes, np.float32)
        for sample in window:
            *states, output = step(*states, tvm.runtime.tensor(sample))
            counts += output.numpy()
        return counts.astype(np.int64)

    return classify


def _processor() -> str:
    """LLVM's name of this machine's processor."""
    import tvm

    return str(tvm.get_global_func("target.llvm_get_system_cpu")())


def _with_vectors(module: Any) -> Any:
    from tvm import relax

    passes = relax.transform
    for change in (passes.LegalizeOps, passes.AnnotateTIROpPattern, passes.FuseOps, passes.FuseTIR):
        module = change()(module)
    for variable, function in list(module.functions.items()):
        if "matmul" in variable.name_hint:
            module[variable] = _vectorized(function)
    return module


def _vectorized(function: Any) -> Any:
    from tvm import s_tir

    schedule = s_tir.Schedule(function)
    for block in schedule.get_child_blocks(schedule.get_sblock("root")):
        if "matmul" not in schedule.get(block).name_hint:
            continue
        *outputs, inner = schedule.get_loops(block)
        size = int(schedule.get(outputs[-1]).extent)
        if len(outputs) == 1 and size >= NARROW:
            width = WIDE if size >= WIDE else NARROW
            outer, vector = schedule.split(outputs[0], [None, width])
            schedule.reorder(outer, inner, vector)
            schedule.vectorize(vector)
            schedule.decompose_reduction(block, inner)
    return schedule.mod["main"]
