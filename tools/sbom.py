"""Software bill of materials, CycloneDX 1.5, of what is installed: python tools/sbom.py [--extra NAME ...] [-o FILE]

Starts at the package itself, follows its requirements as far as they apply to this computer, and adds the model files.
Needs nothing beyond Python's own library and ``packaging``; opens no connection.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "ternarysegment"


def closure(name: str, extras: frozenset[str]) -> dict[str, set[str]]:
    """Names of the packages that a package needs here, itself included, and what each of them needs."""
    needs: dict[str, set[str]] = {}
    waiting = [(canonicalize_name(name), extras)]
    while waiting:
        current, wanted = waiting.pop()
        try:
            requirements = distribution(current).requires or []
        except PackageNotFoundError as error:
            raise SystemExit(f"{current} is not installed here, so nothing can be said about it.") from error
        found = needs.setdefault(current, set())
        for requirement in map(Requirement, requirements):
            applies = requirement.marker is None or any(
                requirement.marker.evaluate({"extra": extra}) for extra in wanted | {""}
            )
            needed = canonicalize_name(requirement.name)
            if applies and needed != current:
                found.add(needed)
                if needed not in needs:
                    waiting.append((needed, frozenset(requirement.extras)))
            elif applies:  # an extra that is made of other extras
                waiting.append((current, frozenset(requirement.extras) - wanted))
    return needs


def licence(package: Distribution) -> str:
    """What a package's metadata says: an SPDX expression, a short text or its classifiers."""
    said = package.metadata.get("License-Expression") or package.metadata.get("License") or ""
    if said and len(said) < 80:
        return said.strip()
    names = [name for name in package.metadata.get_all("Classifier") or [] if name.startswith("License ::")]
    return " AND ".join(name.split(" :: ")[-1] for name in names) or "see the package's own licence file"


def component(name: str) -> dict[str, Any]:
    """One installed package."""
    package = distribution(name)
    return {
        "type": "library",
        "bom-ref": f"pkg:pypi/{name}@{package.version}",
        "purl": f"pkg:pypi/{name}@{package.version}",
        "name": name,
        "version": package.version,
        "description": package.metadata.get("Summary") or "",
        "licenses": [{"license": {"name": licence(package)}}],
    }


def model(path: Path) -> dict[str, Any]:
    """One model file, with its SHA-256."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {
        "type": "machine-learning-model",
        "bom-ref": f"file:{path.name}",
        "name": path.name,
        "hashes": [{"alg": "SHA-256", "content": digest}],
        "licenses": [{"license": {"name": "Apache-2.0"}}],
    }


def bill(extras: frozenset[str]) -> dict[str, Any]:
    """The whole bill."""
    needs = closure(PACKAGE, extras)
    components = {name: component(name) for name in sorted(needs)}
    models = [model(path) for path in sorted((ROOT / "Resources" / "Models").glob("*.npz"))]
    own = components.pop(PACKAGE) | {"type": "application"}
    references = {name: each["bom-ref"] for name, each in {**components, PACKAGE: own}.items()}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": own},
        "components": [*components.values(), *models],
        "dependencies": [
            {"ref": references[name], "dependsOn": sorted(references[needed] for needed in needs[name])}
            for name in sorted(needs)
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--extra", action="append", default=[], help="accelerate, dicom, train ...; may be repeated")
    parser.add_argument("-o", "--output", type=Path, help="write here instead of to the terminal")
    arguments = parser.parse_args()
    text = json.dumps(bill(frozenset(arguments.extra)), indent=2, ensure_ascii=False) + "\n"
    if arguments.output is None:
        sys.stdout.write(text)
        return
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(text, encoding="utf-8")
    print(arguments.output)


if __name__ == "__main__":
    main()
