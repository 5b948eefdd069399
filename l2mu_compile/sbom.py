"""``sbom.cdx.json``: a bill of materials of a directory's files, in CycloneDX 1.6.

Every binary and archive is a component that depends on what is inside it: the model, this package's
kernels and driver, and what the compiler adds from its own libraries.
"""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from uuid import UUID, uuid5

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.output.json import JsonV1Dot6

from l2mu_compile.provenance import Provenance
from l2mu_compile.report import Artifact, Report

SBOM_FILE = "sbom.cdx.json"

# Of RFC 9562, appendix "namespace IDs", for names that are URLs.
_NAMESPACE = UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")
_PRODUCTS = {
    ".a": ComponentType.LIBRARY,
    ".so": ComponentType.LIBRARY,
    ".dylib": ComponentType.LIBRARY,
    ".dll": ComponentType.LIBRARY,
    ".aar": ComponentType.LIBRARY,
    ".jar": ComponentType.LIBRARY,
    ".zip": ComponentType.LIBRARY,
    ".pack": ComponentType.LIBRARY,
    ".elf": ComponentType.FIRMWARE,
    ".bin": ComponentType.FIRMWARE,
    ".hex": ComponentType.FIRMWARE,
}


def sbom(report: Report, provenance: Provenance, name: str) -> str:
    """The bill of materials, JSON, of what ``report`` lists and ``provenance`` says the origin of.

    It is the same for the same files: without a time, its serial number made of their digests.
    """
    model = Component(
        name=report.source.name,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref="model",
        hashes=_hashes(report.source.sha256),
    )
    tool, _, release = provenance.tool.rpartition(" ")
    kernels = Component(
        name=f"{tool} kernels",
        type=ComponentType.LIBRARY,
        version=release,
        bom_ref="kernels",
        licenses=[DisjunctiveLicense(id="Apache-2.0")],
    )
    runtime = Component(
        name="zig compiler runtime",
        type=ComponentType.LIBRARY,
        version=provenance.versions.get("ziglang"),
        bom_ref="runtime",
        licenses=[DisjunctiveLicense(id="MIT")],
    )
    inside = [model, kernels, runtime]
    products = [_product(artifact) for artifact in report.artifacts if _kind(artifact)]
    whole = Component(
        name=name, type=ComponentType.LIBRARY, version=report.digest[:12], bom_ref="output"
    )
    bom = Bom(
        components=[*inside, *products],
        serial_number=uuid5(_NAMESPACE, f"{report.digest} {provenance.digest}"),
    )
    bom.metadata.component = whole
    bom.register_dependency(whole, products)
    for product in products:
        bom.register_dependency(product, inside)
    found = json.loads(JsonV1Dot6(bom).output_as_string())
    del found["metadata"]["timestamp"]
    found["metadata"]["tools"] = {"components": _tools(provenance)}
    return json.dumps(found, indent=2) + "\n"


def _tools(provenance: Provenance) -> list[dict[str, str]]:
    tool, _, release = provenance.tool.rpartition(" ")
    own = {"type": "application", "name": tool, "version": release}
    others = sorted(provenance.versions.items())
    return [own, *({"type": "application", "name": n, "version": v} for n, v in others)]


def _product(artifact: Artifact) -> Component:
    kind = _kind(artifact)
    assert kind is not None
    return Component(
        name=artifact.path,
        type=kind,
        version=artifact.sha256[:12],
        bom_ref=f"file:{artifact.path}",
        hashes=_hashes(artifact.sha256),
    )


def _kind(artifact: Artifact) -> ComponentType | None:
    path = PurePosixPath(artifact.path)
    if path.parts[0] == "executable" and not path.suffix:
        return ComponentType.APPLICATION
    return _PRODUCTS.get(path.suffix)


def _hashes(digest: str | None) -> list[HashType]:
    return [] if digest is None else [HashType(alg=HashAlgorithm.SHA_256, content=digest)]
