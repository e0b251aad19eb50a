"""Write what an image holds: an SBOM in CycloneDX and a list of licences.

usage: inventory.py PYTHON.cdx.json --sbom FILE --licences FILE [--bundle BUNDLE]

cyclonedx-py lists the Python packages; this adds Debian's packages and the model. Standard library only: it runs
while the image is built, on the base image that the result will have.
"""

import argparse
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

Component = dict[str, Any]

PROJECT = "inf-embed"
DPKG_STATUS = Path("/var/lib/dpkg/status")
COPYRIGHTS = Path("/usr/share/doc")
RELEASE = Path("/etc/os-release")


def debian_packages(status: Path, copyrights: Path, distribution: str) -> Iterator[Component]:
    """Give Debian's packages; licences are the short names in their machine-readable copyright files."""
    for paragraph in status.read_text(encoding="utf-8").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if re.match(r"[A-Z][\w-]*: ", line))
        if not fields.get("Status", "").endswith(" installed"):
            continue
        name, version, machine = fields["Package"], fields["Version"], fields["Architecture"]
        purl = f"pkg:deb/{distribution}/{quote(name)}@{quote(version, safe='')}?arch={machine}"
        yield {
            "type": "library",
            "bom-ref": purl,
            "name": name,
            "version": version,
            "purl": purl,
            "licenses": [{"license": {"name": licence}} for licence in debian_licences(copyrights / name)],
        }


def debian_licences(documentation: Path) -> list[str]:
    """Give the licence names of `copyright`; none where the file is prose."""
    file = documentation / "copyright"
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    if "copyright-format" not in text.partition("\n\n")[0]:
        return []
    return sorted({line.removeprefix("License:").strip() for line in text.splitlines() if line.startswith("License: ")})


def model(bundle: Path) -> Component:
    """Give the bundle as a component; its digest is that of the manifest, which carries the digest of every file."""
    manifest = bundle / "manifest.json"
    content = manifest.read_bytes()
    return {
        "type": "machine-learning-model",
        "bom-ref": f"model:{json.loads(content)['name']}",
        "name": json.loads(content)["name"],
        "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(content).hexdigest()}],
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    }


def image(components: list[Component]) -> Component:
    """Give what the inventory is of; it has the version of the project inside."""
    version = next(component["version"] for component in components if component["name"] == PROJECT)
    return {"type": "container", "bom-ref": "image", "name": PROJECT, "version": version}


def licence_names(component: Mapping[str, Any]) -> str:
    """Spell a component's licences, expressions as they are."""
    found: list[str] = []
    for entry in component.get("licenses", ()):
        licence = entry.get("license", {})
        name = entry.get("expression") or licence.get("id") or licence.get("name", "")
        found.append(name.strip().splitlines()[0][:80] if name.strip() else "")
    return ", ".join(sorted({name for name in found if name})) or "see its files"


def licence_list(components: list[Component]) -> str:
    """Write one line a component: name, version, licences."""
    lines = [
        "What this image holds, and under which licences. Their texts lie with the packages: *.dist-info below",
        "/app/venv for Python's, /usr/share/doc/*/copyright for Debian's.",
        "",
    ]
    lines.extend(
        f"{component['name']} {component.get('version', '')}".strip() + f": {licence_names(component)}"
        for component in sorted(components, key=lambda one: (one["type"], one["name"].lower()))
    )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("python", type=Path)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--sbom", type=Path, required=True)
    parser.add_argument("--licences", type=Path, required=True)
    options = parser.parse_args()
    bom = json.loads(options.python.read_text(encoding="utf-8"))
    components: list[Component] = bom["components"]
    bom["metadata"]["component"] = image(components)
    if DPKG_STATUS.is_file():
        release = dict(line.split("=", 1) for line in RELEASE.read_text(encoding="utf-8").splitlines() if "=" in line)
        components.extend(debian_packages(DPKG_STATUS, COPYRIGHTS, release["ID"].strip('"')))
    if options.bundle is not None:
        components.append(model(options.bundle))
    options.sbom.write_text(json.dumps(bom, indent=1) + "\n", encoding="utf-8")
    options.licences.write_text(licence_list(components), encoding="utf-8")
    print(f"{len(components)} components in {options.sbom}")


if __name__ == "__main__":
    main()
