"""Trials in this process and in others."""

from __future__ import annotations

import multiprocessing

import pytest
from toy_training import network, split

from l2mu_compile.errors import L2MUError, UsageError
from l2mu_compile.targets.registry import get_target
from l2mu_compile.task_workers import Workers
from l2mu_compile.trial import Evaluator, Problem

PIPELINES = ("quantize", "prune-population{sparsity=0.99}", "fold-input")
UNKNOWN = "prune-population{population=nobody}"


def evaluator() -> Evaluator:
    return Evaluator(network(), split(network()), get_target("cortex-m4"), "cortex-m4")


def test_here() -> None:
    with Workers(evaluator(), 1) as workers:
        assert (workers.busy, workers.idle) == (0, 1)
        workers.start(7, PIPELINES[1])
        assert (workers.busy, workers.idle) == (1, 0)
        number, outcome = workers.next()
        assert number == 7 and isinstance(outcome, Problem)
        workers.start(8, UNKNOWN)
        with pytest.raises(UsageError, match="cannot prune 'nobody'"):
            workers.next()


@pytest.mark.slow
def test_in_processes() -> None:
    measure = evaluator()
    with Workers(measure, 2) as workers:
        workers.start(0, PIPELINES[0])
        workers.start(1, PIPELINES[1])
        found = dict([workers.next()])
        workers.start(2, PIPELINES[2])
        assert (workers.busy, workers.idle) == (2, 0)
        found |= dict([workers.next(), workers.next()])
        assert found == {i: measure(pipeline) for i, pipeline in enumerate(PIPELINES)}
        workers.start(3, UNKNOWN)
        with pytest.raises(UsageError, match="cannot prune 'nobody'"):
            workers.next()
        workers.start(4, PIPELINES[0])
        assert len(multiprocessing.active_children()) == 2
        for process in multiprocessing.active_children():
            process.kill()
        with pytest.raises(L2MUError, match="the process of task 4 died"):
            workers.next()
    assert not multiprocessing.active_children()
