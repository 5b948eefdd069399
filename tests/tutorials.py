"""Tutorials in docs/: their code blocks, and a directory to follow them in."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from l2mu_compile import plugins
from l2mu_compile.checkpoint import save_checkpoint
from l2mu_compile.l2mu import L2MU, L2MUConfig


def blocks(page: str, *languages: str) -> list[str]:
    """The code of a page in ``languages``."""
    return re.findall(rf"```(?:{'|'.join(languages)})\n(.*?)```", page, re.DOTALL)


def begin(example: Path, pattern: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go to ``folder``, with the example's files, a model and windows; no plug-in is loaded."""
    for path in example.glob(pattern):
        shutil.copy(path, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(plugins, "_files", {})
    torch.manual_seed(0)
    config = L2MUConfig(inputs=3, classes=4, hidden_size=12, memory_size=3, order=4, theta=20)
    save_checkpoint(L2MU(config), "har.ckpt")
    np.savez("train.npz", x=np.random.default_rng(0).normal(size=(16, 25, 3)).astype("f4"))
