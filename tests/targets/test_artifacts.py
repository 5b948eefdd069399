"""Which packages can be asked for, and for which target."""

from __future__ import annotations

import pytest
from command_line import ok, run
from networks import l2mu

from l2mu_compile.errors import UsageError
from l2mu_compile.network_files import save_network
from l2mu_compile.targets.artifacts import PACKAGES, chosen_packages
from l2mu_compile.targets.record import ARTIFACTS, BUILT
from l2mu_compile.targets.registry import TARGETS, get_target

MICROCONTROLLER = {"arduino", "zephyr", "cmsis-pack"}


def chosen(target: str, *names: str) -> list[str]:
    return [package.name for package in chosen_packages(get_target(target), names)]


def test_there_is_a_package_for_every_artifact() -> None:
    assert set(PACKAGES) == set(ARTIFACTS)
    assert all(package.description for package in PACKAGES.values())


def test_what_is_always_built_is_always_chosen_and_the_order_is_fixed() -> None:
    assert chosen("host") == ["lib"]
    assert chosen("cortex-m4") == ["lib", "firmware"]
    assert chosen("cortex-m4", "zephyr", "cmake", "zephyr", "lib") == [*BUILT, "cmake", "zephyr"]


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_has_the_packages_of_its_kind(name: str) -> None:
    found = set(get_target(name).artifacts)
    assert {"lib", "cmake"} <= found
    assert found & MICROCONTROLLER == (MICROCONTROLLER if "firmware" in found else set())


def test_an_unknown_artifact_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"unknown artifact 'conan' \(known: lib, .*cmsis-pack"):
        chosen("cortex-m4", "conan")


def test_an_artifact_of_another_kind_of_target_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'host' has no artifact 'arduino'.*lib, .*cmake"):
        chosen("host", "arduino")


def test_the_command_line_lists_and_refuses_them(tmp_path) -> None:
    listed = {row["name"]: row["artifacts"] for row in ok("targets", "--json").json}
    assert "cmsis-pack" in listed["cortex-m0plus"]
    save_network(l2mu(), tmp_path / "net.txt")
    arguments = ("--artifact", "cmake", "--artifact", "zephyr", "-o", tmp_path / "out")
    result = run("compile", tmp_path / "net.txt", *arguments)
    assert (result.code, "'host' has no artifact 'zephyr'" in result.err) == (2, True)
    assert not (tmp_path / "out").exists()
