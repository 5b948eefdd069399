"""The native methods' C and its JNI table, against other compilers and the JDK's own header."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from java_builds import final, jdk_headers, tool
from networks import feed_forward, samples

from l2mu_compile.lowering import lower
from l2mu_compile.stream import Stream
from l2mu_compile.targets.build import write_sources
from l2mu_compile.targets.emit_c import render
from l2mu_compile.targets.host import HOST
from l2mu_compile.targets.packaging.java_names import java_names
from l2mu_compile.targets.toolchain import RUNTIME_DIR


def run_tool(*command: str | Path) -> list[str]:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("compiler", ["cc", "aarch64-linux-gnu-gcc", "arm-linux-gnueabi-gcc"])
def test_other_compilers_have_no_warning(compiler: str, stream: bool, tmp_path: Path) -> None:
    network = feed_forward()
    planned = final(network, HOST, samples(network), quantized=True)
    program = lower(planned, Stream(12, 5) if stream else None)
    write_sources(program, ["test"], tmp_path)
    values = {"stamp": ["test"], "name": "toy", "NAME": "TOY", "score_type": "int"}
    values |= {"program": program, "java": java_names("toy")}
    header = render("java/jni_model.h.jinja", values)
    (tmp_path / "l2mu_jni_model.h").write_text(header)
    strict = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror")
    command = (tool(compiler), *strict, "-c", f"-I{tmp_path}", "-o", tmp_path / "jni.o")
    run_tool(*command, RUNTIME_DIR / "l2mu_jni.c")


def test_functions_stand_where_the_jdk_has_them(tmp_path: Path) -> None:
    """Every function of our table is at the offset it has in the JDK's own header."""
    include, cc = jdk_headers(), tool("cc")
    ours = (RUNTIME_DIR / "l2mu_jni.h").read_text()
    functions = re.findall(r"\(\*([A-Z]\w+)\)\(", ours.replace("*(*", "(*"))
    assert len(functions) >= 8
    tables = {}
    for header, struct_name in (
        ("l2mu_jni.h", "struct l2mu_jni_functions"),
        ("jni.h", "struct JNINativeInterface_"),
    ):
        source = tmp_path / f"{Path(header).stem}_offsets.c"
        prints = "".join(
            f'    printf("{f} %d\\n", (int)(offsetof({struct_name}, {f}) / sizeof(void *)));\n'
            for f in functions
        )
        source.write_text(
            f"#include <stddef.h>\n#include <stdio.h>\n#include <{header}>\n"
            f"int main(void)\n{{\n{prints}    return 0;\n}}\n"
        )
        program = source.with_suffix("")
        folders = [f"-I{include}", *(f"-I{path.parent}" for path in include.glob("*/jni_md.h"))]
        run_tool(cc, *folders, "-idirafter", RUNTIME_DIR, source, "-o", program)
        tables[header] = run_tool(program)
    assert tables["l2mu_jni.h"] == tables["jni.h"]
    assert "GetDirectBufferAddress 230" in tables["l2mu_jni.h"]
