"""fine-tune: weights, biases and thresholds are trained on labelled windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from l2mu_compile.network import Network
from l2mu_compile.passbase import Context
from l2mu_compile.training_pass import TrainingPass


@dataclass(frozen=True)
class FineTune(TrainingPass):
    """Requires labelled windows and a network before planning; keeps its structure; lossy.

    Weights, biases and thresholds are trained as the network computes with them, integers as
    integers (`l2mu_compile.torch_network`); decays stay, and so do blocks that memory cells share,
    unless ``memory`` is set. Weights of zero stay zero, proofs of sums keep holding. An update
    changes a weight by about ``learning_rate`` of its neuron's threshold. The result is never worse
    than its input on the validation windows (`l2mu_compile.training`).
    """

    name: ClassVar[str] = "fine-tune"
    memory: bool = False

    def apply(self, network: Network, context: Context) -> Network:
        return self.trained(network, context, memory=self.memory)
