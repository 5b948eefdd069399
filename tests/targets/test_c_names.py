"""No model's name leads to a name in C that there is already."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from exactness import product_of
from networks import l2mu, planned, samples
from packages import compiled

from l2mu_compile.errors import ModelError
from l2mu_compile.lowering import lower
from l2mu_compile.stream import Stream
from l2mu_compile.targets.c_names import names_of_model, own_names, refuse_taken_names
from l2mu_compile.targets.emit_c import emit_c
from l2mu_compile.targets.kernel_table import kernel_table
from l2mu_compile.targets.registry import get_target
from l2mu_compile.targets.toolchain import compile_objects


@pytest.mark.parametrize(
    "name",
    [
        *("l2mu_kernels", "l2mu_score", "string", "Stdint", "math", "features", "stdio"),
        *("semihosting", "l2mu_model", "l2mu_jni_model", "board_main", "memory"),
    ],
)
def test_a_name_of_another_c_file_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match=f"^network {name}: its files would take the name"):
        refuse_taken_names(name)


def test_a_name_that_would_define_what_is_defined_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = own_names() | {"serve_step", "SERVE_INPUTS", "blink_state_t"}
    monkeypatch.setattr("l2mu_compile.targets.c_names.own_names", lambda: names)
    with pytest.raises(ModelError, match=r"^network serve: its SERVE_INPUTS would be"):
        refuse_taken_names("serve")
    with pytest.raises(ModelError, match=r"^network blink: its blink_state_t would be"):
        refuse_taken_names("blink")
    refuse_taken_names("ser")


def test_every_name_in_the_c_is_known() -> None:
    """Functions and types of kernels, statics of templates, macros of programs; not their words."""
    known = own_names()
    assert set(kernel_table()) <= known
    statics = {"advance", "class_names", "run_compiled_in", "nextSample", "LINE_BYTES"}
    assert statics | {"l2mu_neurons_f32_t", "L2MU_INTEGERS"} <= known
    assert not {"YOUR", "samples_per", "beta_step"} & known


@pytest.mark.parametrize("quantized", [False, True])
def test_all_that_a_model_defines_is_checked(quantized: bool) -> None:
    program = lower(planned(l2mu(name="harvey"), quantized), Stream(10, 4))
    text = re.sub(r"/\*.*?\*/", "", "".join(emit_c(program, ["test"]).values()), flags=re.DOTALL)
    defined = set(re.findall(r"\b(?:harvey|HARVEY)_\w+", text))
    assert set(program.functions) <= defined
    assert defined <= names_of_model("harvey")


WORDS = ("model", "state", "main", "window", "beta", "threshold", "sample", "line", "L2MU", "l2mu")


@pytest.mark.parametrize("name", WORDS)
def test_words_of_the_firmware_are_fine_as_names(tmp_path: Path, name: str) -> None:
    network = planned(l2mu(name=name), quantized=True)
    window = samples(network, 1)[0]
    product = product_of(network, get_target("cortex-m4"), window, tmp_path)
    assert product.image.exists()
    folder = product.output / "firmware"
    compile_objects(
        product.target, [folder / "board_main.c"], [product.sources], tmp_path / "board"
    )


def test_words_of_the_executable_are_fine_as_names(tmp_path: Path) -> None:
    output = compiled(tmp_path, "model", target="cortex-a53", kinds=["executable"])
    assert (output / "executable" / "model").exists()
