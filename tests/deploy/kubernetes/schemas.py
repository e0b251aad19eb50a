"""Schemas of objects: Kubernetes' own for many versions, from `kubernetes-validate`; those of others from `crds/`."""

import json
from pathlib import Path

import kubernetes_validate
from jsonschema import Draft202012Validator

from tests.deploy.kubernetes.rendered import Object, name_of

VERSIONS = ("1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37")
"""From the first version whose preStop hook can sleep without a shell."""
_CRDS = {
    (crd["properties"]["apiVersion"]["const"], crd["properties"]["kind"]["const"]): crd
    for crd in (json.loads(path.read_text(encoding="utf-8")) for path in Path(__file__).parent.glob("crds/*.json"))
}


def faults(one: Object, version: str) -> list[str]:
    """Say what a version of Kubernetes would not take in an object, unknown fields included."""
    crd = _CRDS.get((one["apiVersion"], one["kind"]))
    if crd is not None:
        return [_told(one, error.json_path, error.message) for error in Draft202012Validator(crd).iter_errors(one)]
    try:
        kubernetes_validate.validate(one, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [_told(one, error.json_path, error.message)]
    except kubernetes_validate.SchemaNotFoundError:
        return [f"{name_of(one)}: Kubernetes {version} knows no {one['apiVersion']} {one['kind']}"]
    return []


def _told(one: Object, path: str, message: str) -> str:
    return f"{name_of(one)}: {path}: {message[:200]}"
