"""Names of packages, classes and native methods."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import run

from l2mu_compile.errors import UsageError
from l2mu_compile.targets.packaging.java_names import check_package, java_names


@pytest.mark.parametrize(
    ("model", "package", "class_name"),
    [
        ("har", "l2mu.har", "Har"),
        ("smart_watch_7", "l2mu.smart_watch_7", "SmartWatch7"),
        ("a__b_", "l2mu.a__b_", "AB"),
        ("HAR", "l2mu.har", "HAR"),
        ("myNet", "l2mu.mynet", "MyNet"),
        ("final", "l2mu.final_", "Final"),
        ("NULL", "l2mu.null_", "NULL"),
        ("system", "l2mu.system", "SystemModel"),
        ("byte_buffer", "l2mu.byte_buffer", "ByteBufferModel"),
        ("r", "l2mu.r", "RModel"),
    ],
)
def test_names_of_a_model(model: str, package: str, class_name: str) -> None:
    names = java_names(model)
    assert (names.package, names.class_name) == (package, class_name)
    check_package(names.package)


def test_files_and_qualified_name() -> None:
    names = java_names("smart_watch", "com.example.sensors")
    assert names.qualified == "com.example.sensors.SmartWatch"
    assert names.path == "com/example/sensors/SmartWatch"


@pytest.mark.parametrize(
    ("model", "package", "prefix"),
    [
        ("har", None, "Java_l2mu_har_Har_"),
        ("my_net", None, "Java_l2mu_my_1net_MyNet_"),
        ("a_1", "com.x_1_.y__z", "Java_com_x_11_1_y_1_1z_A1_"),
    ],
)
def test_underscores_in_native_names(model: str, package: str | None, prefix: str) -> None:
    assert java_names(model, package).native_prefix == prefix


@pytest.mark.parametrize(
    ("package", "reason"),
    [
        ("", "two or more words"),
        ("har", "two or more words"),
        ("com.", "two or more words"),
        (".com.har", "two or more words"),
        ("com..har", "two or more words"),
        ("com.7har", "two or more words"),
        ("com._har", "two or more words"),
        ("com.h-r", "two or more words"),
        ("com.hár", "two or more words"),
        ("com.har\n", "two or more words"),
        ("com/har.x", "two or more words"),
        ('com.har"/>', "two or more words"),
        ("com." + "x" * 200, "two or more words"),
        ("com.new.har", "'new' is a reserved word"),
        ("java.har", "Java's own"),
    ],
)
def test_unusable_packages_are_refused(package: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        java_names("har", package)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--artifact", "java", "--java-package", "new"), "--java-package 'new'"),
        (("--java-package", "com.example"), "is for --artifact aar and --artifact java"),
    ],
)
def test_command_line_says_what_is_wrong(
    tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    result = run("compile", tmp_path / "net.txt", "-o", tmp_path / "out", *arguments)
    assert result.code == 2
    assert words in result.err
    assert not (tmp_path / "out").exists()
