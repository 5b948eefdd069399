"""l2mu-compile: trained spiking Legendre Memory Units to small, verified C for ARM devices.

::

    from l2mu_compile import Job, compile_model, default_pipeline, get_target, load_model

    model = load_model("har.ckpt")
    job = Job(get_target("cortex-m4"), default_pipeline(quantized=False, calibrated=False))
    report = compile_model(model, job, "out/har")

The names below are public; they are imported when first used, so torch is loaded only where a
torch model is.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "checkpoint": ("load_checkpoint", "save_checkpoint"),
    "compiled": ("load_host_model", "verify_output"),
    "compiler": ("Job", "compile_model"),
    "errors": (
        "BudgetError",
        "L2MUError",
        "MismatchError",
        "ModelError",
        "PassError",
        "ToolchainError",
        "UsageError",
    ),
    "frontend": ("Model", "from_module", "load_model"),
    "importers": ("Importer",),
    "interpreter": ("Run", "run"),
    "l2mu": ("L2MU", "L2MUConfig", "NeuronParameters"),
    "lowering": ("lower",),
    "network": ("Input", "Network", "Population", "Readout"),
    "network_files": ("load_network", "save_network"),
    "neurons": ("LI", "LIF", "CuBaLIF"),
    "pass_checks": ("check_pass",),
    "passbase": ("Context", "Pass"),
    "pipeline": ("default_pipeline", "parse_pipeline", "run_passes"),
    "plugins": ("load_plugin",),
    "program": ("Program",),
    "projection": ("Projection",),
    "random_networks": ("random_network", "random_windows"),
    "stream": ("Stream",),
    "targets.registry": ("TARGETS", "get_target"),
    "text": ("network_digest", "parse", "to_text"),
    "torch_network": ("NetworkModule",),
    "tuning": ("TuneJob", "tune_model"),
    "windows": ("Windows", "load_windows"),
}
_HOME = {name: module for module, names in _PUBLIC.items() for name in names}

__all__ = sorted([*_HOME, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
