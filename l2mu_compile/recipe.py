"""What a directory of compiled code is made from: a model, a device, passes, and files of each.

The command line and ``l2mu.toml`` both end here. Paths are relative to a directory that whoever
uses a recipe knows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _one_or_more(value: object) -> object:
    return [value] if isinstance(value, (str, int, float)) else value


def _passes(value: object) -> object:
    return ", ".join(value) if isinstance(value, list) and all(map(_is_text, value)) else value


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _path(value: object) -> object:
    if isinstance(value, str) and (not value or _CONTROL.search(value)):
        raise ValueError("is no path")
    return value


Names = Annotated[tuple[str, ...], BeforeValidator(_one_or_more)]
Numbers = Annotated[tuple[float, ...], BeforeValidator(_one_or_more)]
Passes = Annotated[str, BeforeValidator(_passes)]
File = Annotated[Path, BeforeValidator(_path)]


class Table(BaseModel):
    """A table of the file: no key that is not known."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelTable(Table):
    """A model, its windows and how samples are read; ``--help`` of compile explains each key."""

    checkpoint: File | None = None
    module: str | None = None
    params: File | None = None
    inputs: int | None = Field(None, ge=1)
    readout: str | None = None
    nir: str | None = None
    name: str | None = None
    classes: tuple[str, ...] | File | None = None
    input_scale: Numbers | None = None
    input_offset: Numbers | None = None
    window: int | None = None
    hop: int | None = None
    calibrate: File | None = Field(None, description="windows to measure ranges and rates on")
    test: File | None = Field(None, description="windows to verify and to judge by")


class TargetTable(Table):
    """A device: a target or a board, refined, and what is made for it."""

    target: str | None = None
    board: str | None = None
    backend: Literal["c", "tvm"] = "c"
    artifacts: Names = ()
    mcpu: str | None = None
    mattr: str | None = None
    float_abi: str | None = None
    java_package: str | None = None


class PipelineTable(Table):
    """Passes, or the default ones with or without quantization."""

    quantize: Literal["int8", "none"] | None = None
    passes: Passes | None = None


class Recipe(Table):
    """All that a build is made by."""

    model: ModelTable
    target: TargetTable = TargetTable()
    pipeline: PipelineTable = PipelineTable()
    plugins: tuple[File, ...] = ()

    def files(self) -> Iterator[tuple[str, Path]]:
        """Files that are read, by what they are for."""
        for key, value in self.model:
            if isinstance(value, Path):
                yield key, value
        for path in self.plugins:
            yield "plugin", path
