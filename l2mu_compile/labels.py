"""Where names of classes come from: what the user says, the model itself, or a file of windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from l2mu_compile.errors import UsageError
from l2mu_compile.frontend import Model, load_model_for
from l2mu_compile.windows import Windows

MAX_FILE_BYTES = 1 << 20


def load_labelled_model(
    source: tuple[Any, ...], option: str | None, *files: Windows | None
) -> Model:
    """What `load_model_for` loads from ``source`` for the first of ``files``, its classes named as
    ``option`` or any of the files name them."""
    model = load_model_for(files[0], *source)
    for windows in files:
        model = with_labels(model, option, windows)
    return model


def with_labels(model: Model, option: str | None, windows: Windows | None) -> Model:
    """``model`` with the names that ``option`` gives, else its own, else those of ``windows``.

    Raises `ModelError` where names do not fit the network, `UsageError` where the model's and the
    windows' are not the same.
    """
    if option is not None:
        return model.with_labels(read_labels(option), "--classes")
    if windows is None or windows.classes is None:
        return model
    own = model.network.readout.labels
    if own is not None and own != windows.classes:
        raise UsageError(
            f"{windows.source}: classes are {', '.join(windows.classes)}, but the model's are "
            f"{', '.join(own)}: say which with --classes"
        )
    return model.with_labels(windows.classes, windows.source)


def read_labels(option: str) -> tuple[str, ...]:
    """Names separated by commas, or the lines of a file. `UsageError` if the file is unreadable."""
    path = Path(option)
    if not _is_file(path):
        return tuple(name.strip() for name in option.split(","))
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UsageError(f"--classes {path}: larger than {MAX_FILE_BYTES} bytes")
        return tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--classes {path}: {error}") from None


def _is_file(path: Path) -> bool:
    """False also for what cannot be a path at all."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
