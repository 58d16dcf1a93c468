"""The manifests of deploy/k8s fit together, and are as careful as the compose file."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from cdc.settings import CaptureSettings
from widebeam.cli import app
from widebeam.config.config import load

PLACE = Path(__file__).parents[1] / "deploy" / "k8s"
PARTS = ("capture", "sink", "backfill")


def manifests(name: str) -> list[Any]:
    return list(yaml.safe_load_all((PLACE / f"{name}.yaml").read_text()))


def pod(part: str) -> Any:
    (one,) = manifests(part)
    return one["spec"]["template"]["spec"]


@pytest.fixture(scope="module")
def generated() -> dict[str, Any]:
    """The config maps by their names."""
    return {each["name"]: each for each in manifests("kustomization")[0]["configMapGenerator"]}


@pytest.mark.parametrize("part", PARTS)
def test_a_part_can_write_nothing_and_may_do_nothing_but_reach_the_servers(part: str) -> None:
    (container,) = pod(part)["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert container["resources"]["limits"]["memory"]
    assert all(each["readOnly"] for each in container["volumeMounts"])
    drains = next(field.default for field in fields(CaptureSettings) if field.name == "drain_seconds")
    assert pod(part)["securityContext"]["runAsNonRoot"] is True
    assert pod(part)["terminationGracePeriodSeconds"] >= drains + 15


@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_a_verb_of_ours_with_the_connector_and_the_settings_that_are_generated(
    part: str, generated: dict[str, Any]
) -> None:
    (container,) = pod(part)["containers"]
    verb, option, connector = container["args"]
    assert verb == part
    assert option in {each for param in get_command(app).commands[verb].params for each in param.opts}  # type: ignore[attr-defined]
    assert generated["widebeam-connector"]["files"] == [f"{connector}.toml"]
    assert container["envFrom"] == [{"configMapRef": {"name": "widebeam-settings"}}]
    assert pod(part)["volumes"][0]["configMap"]["name"] == "widebeam-connector"


def test_the_connector_can_be_loaded_with_the_settings_and_finds_its_passwords_where_they_are_mounted(
    generated: dict[str, Any], tmp_path: Path
) -> None:
    mounts = [each for part in PARTS for each in pod(part)["containers"][0]["volumeMounts"]]
    (mount,) = {each["mountPath"] for each in mounts if each["name"] == "passwords"}
    settings = [each.replace(mount, str(tmp_path)) for each in generated["widebeam-settings"]["literals"]]
    for side in ("source", "target"):
        (tmp_path / side).write_text(side)
    connector = load(str(PLACE / "plant.toml"), dict(each.split("=", 1) for each in settings))
    for name in ("source", "target"):
        assert f"password={name}" in getattr(connector.options, name).conninfo()
    port = pod("sink")["containers"][0]["ports"][0]["containerPort"]
    assert connector.options.health.port == port


def test_each_manifest_is_taken_in_and_each_budget_is_for_a_part() -> None:
    (kustomization,) = manifests("kustomization")
    assert {*kustomization["resources"], "kustomization.yaml"} == {each.name for each in PLACE.glob("*.yaml")}
    for budget in manifests("disruption"):
        (part,) = manifests(budget["metadata"]["name"])
        assert budget["spec"]["selector"]["matchLabels"] == part["spec"]["template"]["metadata"]["labels"]
