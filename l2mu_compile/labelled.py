"""Windows with labels, split into those to train on and those to validate on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from l2mu_compile.errors import ModelError
from l2mu_compile.network import Network
from l2mu_compile.paths import printable
from l2mu_compile.windows import Windows

VALIDATION_SHARE = 0.2
NAMED_GROUPS = 8  # at most; more are counted


@dataclass(frozen=True)
class LabelledWindows:
    """``train`` to learn from, ``validation`` to choose by; ``split`` says how they were parted.

    ``seed`` is that of the run: whatever is drawn at random while training starts from it.
    """

    train: Windows
    validation: Windows
    split: str
    seed: int = 0


def labelled(
    windows: Windows, validation: Windows | None, network: Network, seed: int = 0
) -> LabelledWindows:
    """``windows`` with ``validation`` windows of their own, or split.

    Where windows have groups (the person they are from), whole groups are held back, as near to a
    fifth of the windows as groups allow; else a fifth of the windows of each class. Raises
    `ModelError`, naming the file, for windows without labels, that do not fit ``network``, or
    that leave a class of it without a window to train on.
    """
    _require_labels(windows, network)
    _require_classes(windows, network, "holds no window of")
    if validation is not None:
        _require_labels(validation, network)
        return LabelledWindows(windows, validation, f"windows of {_name(validation)}", seed)
    if windows.group is None:
        held = _some_of_each_class(windows, seed)
        split = f"a fifth of the windows of each class of {_name(windows)}"
    else:
        held, split = _some_groups(windows, seed)
    train, kept_back = windows.chosen(np.flatnonzero(~held)), windows.chosen(np.flatnonzero(held))
    _require_classes(train, network, f"validating on {split} leaves no window to train on of")
    return LabelledWindows(train, kept_back, split, seed)


def _some_of_each_class(windows: Windows, seed: int) -> NDArray:
    """Windows, bool ``[N]``, to hold back."""
    assert windows.y is not None
    random = np.random.default_rng(seed)
    held = np.zeros(len(windows.x), dtype=bool)
    for label in np.unique(windows.y):
        members = random.permutation(np.flatnonzero(windows.y == label))
        held[members[: max(round(VALIDATION_SHARE * len(members)), 1)]] = True
    return held


def _some_groups(windows: Windows, seed: int) -> tuple[NDArray, str]:
    """Windows, bool ``[N]``, to hold back, and the groups they are."""
    assert windows.group is not None
    groups, members = np.unique(windows.group, return_inverse=True)
    if len(groups) < 2:
        raise ModelError(
            f"{windows.source}: all windows are of group {groups[0]}; "
            "give windows of other groups with --validation"
        )
    order = np.random.default_rng(seed).permutation(len(groups))
    sizes = np.cumsum(np.bincount(members)[order])[:-1]
    count = int(np.argmin(np.abs(sizes - VALIDATION_SHARE * len(members)))) + 1
    chosen = np.sort(order[:count])
    names = "group " if count == 1 else "groups "
    names += ", ".join(printable(str(groups[k])) for k in chosen)
    if count > NAMED_GROUPS:
        names = f"{count} groups"
    return np.isin(members, chosen), f"{names} of {len(groups)} of {_name(windows)}"


def _name(windows: Windows) -> str:
    return printable(Path(windows.source).name)


def _require_labels(windows: Windows, network: Network) -> None:
    windows.require_fit(network)
    if windows.y is None:
        raise ModelError(f"{windows.source}: no array 'y': training needs the class of each window")


def _require_classes(windows: Windows, network: Network, problem: str) -> None:
    assert windows.y is not None
    absent = np.setdiff1d(np.arange(network.classes), windows.y)
    if len(absent):
        names = network.class_names
        number = int(absent[0])
        name = f" ({names[number]})" if names[number] != str(number) else ""
        more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        raise ModelError(f"{windows.source}: {problem} class {number}{name}{more}")
