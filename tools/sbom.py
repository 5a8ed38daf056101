"""Add the model files to the bill of materials that cyclonedx-py made of an environment; see make sbom."""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

MODELS = Path(__file__).resolve().parents[1] / "Resources" / "Models"


def model(path: Path) -> Component:
    """Describe one model file, with its SHA-256."""
    return Component(
        name=path.name,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=f"file:{path.name}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=hashlib.sha256(path.read_bytes()).hexdigest())],
        licenses=[DisjunctiveLicense(id="Apache-2.0")],
    )


def with_models(packages: Path) -> str:
    """Return the bill of packages as CycloneDX 1.6, with the models that the root component needs too."""
    bill = Bom.from_json(json.loads(packages.read_text(encoding="utf-8")))
    models = [model(path) for path in sorted(MODELS.glob("*.npz"))]
    bill.components.update(models)
    bill.register_dependency(bill.metadata.component, models)
    bill.metadata.timestamp = None  # the same packages and models give the same bill, as from cyclonedx-py
    bill.serial_number = None
    text = JsonV1Dot6(bill).output_as_string(indent=2)
    if error := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        raise SystemExit(f"The bill is not valid CycloneDX 1.6: {error}")
    return text + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("packages", type=Path, help="what cyclonedx-py environment wrote")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.output.write_text(with_models(arguments.packages), encoding="utf-8")
    print(arguments.output)


if __name__ == "__main__":
    main()
