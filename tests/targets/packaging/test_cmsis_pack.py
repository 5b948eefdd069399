"""The CMSIS-Pack: its description by the rules of PACK.xsd 1.7, its component compiled and run."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
import zipfile
from datetime import date
from pathlib import Path

import pytest
from packages import (
    HOSTILE_NAMES,
    M4F,
    PORTABLE,
    WARNINGS,
    Packages,
    compile_c,
    expected_decisions,
    expected_names,
    fill_in,
    need,
    program_decisions,
    tool,
    unzipped,
    write_program,
)

from l2mu_compile.network_files import load_network

NAMES = ("cell", *HOSTILE_NAMES)

RESTRICTED = r"[-_A-Za-z0-9]+"
ID_PART = r"[A-Za-z0-9][A-Za-z0-9_+()'/\-\s.]{1,31}"
# Attributes by element: the pattern of each, and which must be there.
ATTRIBUTES = {
    "release": ({"version": r"\d+\.\d+\.\d+", "date": r"\d{4}-\d\d-\d\d"}, {"version"}),
    "language": ({"name": ".+", "version": ".+"}, {"name", "version"}),
    "taxonomy/description": ({"Cclass": ID_PART, "Cgroup": ID_PART}, {"Cclass"}),
    "condition": ({"id": ".+"}, {"id"}),
    "accept": ({"Tcompiler": "GCC|ARMCC|CLANG|IAR", "Toptions": "AC6|AC6LTO"}, {"Tcompiler"}),
    "component": (
        {
            "Cvendor": r"[A-Za-z0-9][A-Za-z0-9\-\s]{1,31}",
            "Cclass": ID_PART,
            "Cgroup": ID_PART,
            "Csub": r"[A-Za-z0-9][A-Za-z0-9_+():/\-\s.]{0,31}",
            "Cversion": r"(0|[1-9]\d*)\.\d+\.\d+",
            "condition": ".+",
        },
        {"Cclass", "Cgroup", "Cversion"},
    ),
    "file": (
        {
            "category": "doc|header|include|source",
            "attr": "template",
            "name": ".+",
            "select": ".+",
        },
        {"category", "name"},
    ),
}
# Children by element: how often each may appear.
ONCE, OPTIONAL, SOME = (1, 1), (0, 1), (1, 99)
CHILDREN = {
    "package": {
        **dict.fromkeys(("vendor", "name", "description", "url", "releases"), ONCE),
        **dict.fromkeys(("license", "keywords", "requirements", "taxonomy"), OPTIONAL),
        **dict.fromkeys(("conditions", "components"), OPTIONAL),
    },
    "releases": {"release": SOME},
    "keywords": {"keyword": SOME},
    "requirements": {"languages": OPTIONAL},
    "languages": {"language": SOME},
    "taxonomy": {"description": SOME},
    "conditions": {"condition": SOME},
    "condition": {"accept": SOME},
    "components": {"component": SOME},
    "component": {
        "description": ONCE,
        "Pre_Include_Local_Component_h": OPTIONAL,
        "files": ONCE,
    },
    "files": {"file": SOME},
}


@pytest.fixture
def pack(packages: Packages, tmp_path: Path) -> Path:
    """An installed pack."""
    return install(packages, "cell", tmp_path)


def archive_of(packages: Packages, name: str) -> Path:
    (archive,) = (packages(name) / "cmsis-pack").iterdir()
    return archive


def install(packages: Packages, name: str, folder: Path) -> Path:
    return unzipped(archive_of(packages, name), folder / "packs" / name)


def description(root: Path) -> ElementTree.Element:
    (path,) = root.glob("*.pdsc")
    return ElementTree.parse(path).getroot()


def component(root: Path) -> ElementTree.Element:
    found = description(root).find("components/component")
    assert found is not None
    return found


def component_files(root: Path, category: str, attr: str | None = None) -> list[Path]:
    """The component's files of a kind."""
    files = component(root).findall("files/file")
    return [
        root / file.attrib["name"]
        for file in files
        if file.attrib["category"] == category and file.get("attr") == attr
    ]


def check(element: ElementTree.Element, parent: str = "") -> None:
    """Attributes, children and their numbers are as the schema says; nothing else is there."""
    allowed, required = ATTRIBUTES.get(
        f"{parent}/{element.tag}", ATTRIBUTES.get(element.tag, ({}, set()))
    )
    assert required <= set(element.attrib) <= set(allowed), element.tag
    for name, value in element.attrib.items():
        assert re.fullmatch(allowed[name], value), (element.tag, name, value)
    counts = CHILDREN.get(element.tag, {})
    found = [child.tag for child in element]
    assert set(found) <= set(counts), element.tag
    for name, (least, most) in counts.items():
        assert least <= found.count(name) <= most, (element.tag, name)
    for child in element:
        check(child, element.tag)


# ---- the description ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_description_is_as_the_schema_says(
    packages: Packages, tmp_path: Path, name: str
) -> None:
    root = description(install(packages, name, tmp_path))
    assert root.attrib.pop("schemaVersion") == "1.7.28"
    space = "{http://www.w3.org/2001/XMLSchema-instance}"
    assert root.attrib.pop(f"{space}noNamespaceSchemaLocation") == "PACK.xsd"
    check(root)
    texts = {child.tag: child.text or "" for child in root}
    assert re.fullmatch(RESTRICTED, texts["vendor"])
    assert re.fullmatch(RESTRICTED, texts["name"])
    assert texts["name"] == name
    assert texts["description"].startswith("Spiking network with 2 inputs")
    assert texts["url"] == "", "nobody has published it"
    released = root.find("releases/release")
    assert released is not None
    assert date.fromisoformat(released.attrib["date"]) == date(1980, 1, 1)


@pytest.mark.parametrize("name", NAMES)
def test_the_archive_is_named_after_its_description(packages: Packages, name: str) -> None:
    archive = archive_of(packages, name)
    with zipfile.ZipFile(archive) as content:
        (described,) = (n for n in content.namelist() if n.endswith(".pdsc"))
        root = ElementTree.fromstring(content.read(described))
    vendor, pack = root.findtext("vendor"), root.findtext("name")
    released = root.find("releases/release")
    assert released is not None
    assert described == f"{vendor}.{pack}.pdsc"
    assert archive.name == f"{vendor}.{pack}.{released.attrib['version']}.pack"


@pytest.mark.parametrize("name", NAMES)
def test_everything_described_is_there(packages: Packages, tmp_path: Path, name: str) -> None:
    root = install(packages, name, tmp_path)
    tree = description(root)
    for file in tree.iter("file"):
        path = root / file.attrib["name"]
        assert path.is_dir() if file.attrib["category"] == "include" else path.is_file()
        assert file.attrib["name"].endswith("/") is (file.attrib["category"] == "include")
    assert (root / (tree.findtext("license") or "?")).is_file()
    sources = set(component_files(root, "source"))
    assert sources == set((root / "src").glob("*.c"))
    conditions = {c.attrib["id"] for c in tree.iter("condition")}
    assert {c.attrib["condition"] for c in tree.iter("component")} <= conditions


# ---- the component -----------------------------------------------------------------------------


def objects_of(root: Path, command: tuple[str, ...], folder: Path) -> list[Path]:
    """The component compiled as a pack's tools do: its include path, its own pre-included file."""
    before = folder / "Pre_Include_Local_Component.h"
    folder.mkdir(parents=True)
    before.write_text(component(root).findtext("Pre_Include_Local_Component_h") or "")
    includes = [f"-I{path}" for path in component_files(root, "include")]
    flags = (*command, "-std=gnu11", *WARNINGS, *includes, "-include", str(before))
    return compile_c(flags, component_files(root, "source"), folder)


def test_two_packs_share_one_image_and_decide_as_the_interpreter(
    packages: Packages, tmp_path: Path
) -> None:
    need("gcc")
    roots = {name: install(packages, name, tmp_path) for name in ("cell", "no")}
    objects = [
        path
        for name, root in roots.items()
        for path in objects_of(root, ("gcc",), tmp_path / f"{name}_objects")
    ]
    for name, root in roots.items():
        main = tmp_path / name / "main.c"
        write_program(packages(name), main)
        (include,) = component_files(root, "include")
        tool("gcc", f"-I{include}", main, *objects, "-o", main.with_suffix(""))
        found = program_decisions(main.with_suffix(""), packages(name))
        assert found == expected_decisions(packages(name))


@pytest.mark.parametrize("raw", [False, True], ids=["floats", "counts"])
def test_the_template_decides_as_the_interpreter(
    packages: Packages, tmp_path: Path, raw: bool
) -> None:
    need("gcc")
    output = packages(raw=raw)
    (archive,) = (output / "cmsis-pack").iterdir()
    root = unzipped(archive, tmp_path / "pack")
    (template,) = component_files(root, "source", "template")
    (include,) = component_files(root, "include")
    reaction = {"(void)label;": "puts(cell_class_name(label));"}
    network = load_network(output / "network.txt")
    written = fill_in(template, network, tmp_path / "main", **reaction)
    flags = ("gcc", "-std=c99", *WARNINGS, "-include", "stdio.h", f"-I{include}")
    objects = objects_of(root, ("gcc",), tmp_path / "objects")
    objects += compile_c(flags, written, tmp_path / "main")
    tool("gcc", *objects, "-o", tmp_path / "classify")
    assert tool(tmp_path / "classify").splitlines() == expected_names(output)


@pytest.mark.parametrize("target", [PORTABLE, "cortex-m4"])
def test_everything_compiles_for_a_microcontroller(
    packages: Packages, tmp_path: Path, target: str
) -> None:
    need("arm-none-eabi-gcc")
    (archive,) = (packages(target=target) / "cmsis-pack").iterdir()
    pack = unzipped(archive, tmp_path / "pack")
    assert bool(list((pack / "src").glob("l2mu_*_dsp.c"))) is (target != PORTABLE)
    compilers = {e.attrib["Tcompiler"] for e in description(pack).iter("accept")}
    assert ("IAR" in compilers) is (target == PORTABLE)
    command = ("arm-none-eabi-gcc", *M4F)
    assert objects_of(pack, command, tmp_path / "objects")
    (template,) = component_files(pack, "source", "template")
    (include,) = component_files(pack, "include")
    compile_c((*command, "-std=c99", *WARNINGS, f"-I{include}"), [template], tmp_path / "main")
