"""Leave a module, and torch, as they were: what tracing changes is undone whatever happens."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO

import snntorch
import torch
from torch import Tensor, nn


@contextmanager
def preserved(module: nn.Module) -> Iterator[None]:
    """Undo, on exit, what happens inside to the attributes of ``module`` and its children.

    That includes the contents of their lists and dicts, of buffers and of tensor attributes.
    """
    attributes = [(m, dict(m.__dict__)) for m in module.modules()]
    lists = [(v, v[:]) for _, a in attributes for v in a.values() if isinstance(v, list)]
    dicts = [(v, dict(v)) for _, a in attributes for v in a.values() if isinstance(v, dict)]
    held = [v for _, d in [*attributes, *dicts] for v in d.values()]
    held += [v for _, saved in lists for v in saved]
    tensors = [t for t in held if isinstance(t, Tensor) and not isinstance(t, nn.Parameter)]
    copies = [(t, t.detach().clone()) for t in tensors]
    try:
        yield
    finally:
        for owner, saved in attributes:
            owner.__dict__.clear()
            owner.__dict__.update(saved)
        for entries, kept in lists:
            entries[:] = kept
        for mapping, content in dicts:
            mapping.clear()
            mapping.update(content)
        for tensor, copy in copies:
            if not torch.equal(tensor, copy):
                tensor.detach().copy_(copy)


@contextmanager
def only_own_instances(module: nn.Module) -> Iterator[None]:
    """Keep ``snntorch.utils.reset`` off the neurons of other models while tracing this one."""
    classes = (snntorch.SpikingNeuron, snntorch.Leaky, snntorch.Synaptic)
    saved = [(c, c.__dict__["instances"]) for c in classes if "instances" in c.__dict__]
    own = [m for m in module.modules() if isinstance(m, snntorch.SpikingNeuron)]
    try:
        for holder, _ in saved:
            holder.instances = own
        yield
    finally:
        for holder, instances in saved:
            holder.instances = instances


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings and log lines of torch and snnTorch, nor what the module's code prints."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


@contextmanager
def one_thread() -> Iterator[None]:
    """Many small products: threads only wait for each other, the more so on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
