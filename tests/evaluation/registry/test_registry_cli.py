"""`infembed registry` as an operator meets it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from evaluation.policy import Policy
from evaluation.registry.cli import app
from evaluation.registry.store import Store
from infembed.bundle import Bundle
from infembed.errors import (
    BadConfigError,
    BadInputError,
    InfEmbedError,
    MissingArtefactError,
    NotFoundError,
    UnavailableError,
)
from tests.evaluation.registry.registries import Bundles, digest_of, judge


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def done(*arguments: str | Path) -> str:
    """Run a command that must succeed; returns what it prints."""
    result = run(*arguments)
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result.stdout


def refused(kind: type[InfEmbedError], *arguments: str | Path) -> str:
    """Run a command that must be refused in one sentence; returns it."""
    result = run(*arguments)
    assert isinstance(result.exception, kind), repr(result.exception)
    assert "\n" not in str(result.exception)
    return str(result.exception)


def test_a_model_goes_from_registration_to_production_and_back(empty: Store, bundles: Bundles, tmp_path: Path) -> None:
    registry = ("--registry", empty.location.directory)
    assert "is the candidate" in done("register", bundles.first, *registry)
    assert "nothing changed" in done("register", bundles.first, *registry)
    done("promote", "--initial", "--by", "ann", "--reason", "the first", *registry)
    done("register", bundles.second, *registry)
    files = judge(bundles.first, bundles.second, tmp_path / "gate")
    options = ("--decision", files.decision, "--champion", files.champion, "--candidate", files.candidate)
    assert "champion is now version 2" in done("promote", *options, *registry)
    listed = done("list", *registry)
    assert "rollback to  version 1" in listed
    assert f"promote   version 2, gate PASS under policy {Policy().digest[:8]}, by" in listed
    printed = done("pull", tmp_path / "serving", *registry)
    assert f"infembed serve --bundle {tmp_path / 'serving' / 'current' / 'bundle'}" in printed
    assert Bundle.open(tmp_path / "serving" / "current" / "bundle").digest == digest_of(bundles.second)
    assert "again version 1" in done("rollback", "--by", "bob", "--reason", "slower", *registry)
    assert "PROBLEM" not in done("verify", *registry)


def test_machines_read_json(store: Store, tmp_path: Path) -> None:
    registry = ("--registry", store.location.directory, "--json")
    listed = json.loads(done("list", *registry))
    assert (listed["champion"]["version"], listed["candidate"]["version"]) == (1, 2)
    assert [decision["action"] for decision in listed["decisions"]] == ["register", "promote", "register"]
    pulled = json.loads(done("pull", tmp_path / "serving", *registry))
    assert (pulled["is_new"], pulled["is_signature_checked"]) == (True, False)
    assert json.loads(done("verify", *registry))["problems"] == []


def test_the_registry_is_found_through_the_environment(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFEMBED_REGISTRY", str(store.location.directory))
    assert str(store.location) in done("list")


def test_verify_ends_with_1_and_names_the_problem_until_it_is_repaired(store: Store) -> None:
    registry = ("--registry", store.location.directory)
    store.set_alias("champion", 2)
    result = run("verify", *registry)
    assert result.exit_code == 1
    assert "PROBLEM   alias champion points to version 2" in result.stdout
    assert "repaired  alias champion: version 2 -> 1" in done("verify", "--repair", *registry)


def test_a_promotion_without_decision_or_reports_is_refused(store: Store, tmp_path: Path) -> None:
    registry = ("--registry", store.location.directory)
    assert "needs --decision" in refused(BadInputError, "promote", *registry)
    absent = tmp_path / "none.json"
    options = ("--decision", absent, "--champion", absent, "--candidate", absent)
    assert "no decision at" in refused(MissingArtefactError, "promote", *options, *registry)
    assert "leave out decision" in refused(BadInputError, "promote", "--initial", *options, *registry)


def test_an_override_needs_a_name_on_the_command_line(store: Store, bundles: Bundles, tmp_path: Path) -> None:
    files = judge(bundles.first, bundles.second, tmp_path / "gate", gain=-0.2)
    reports = ("--champion", files.champion, "--candidate", files.candidate)
    options = ("promote", "--decision", files.decision, *reports, "--registry", store.location.directory)
    assert "verdict is FAIL" in refused(BadInputError, *options)
    assert "--by NAME" in refused(BadInputError, *options, "--override", "--reason", "urgent")
    done(*options, "--override", "--reason", "urgent", "--by", "ann")
    overridden = f"gate FAIL under policy {Policy().digest[:8]} OVERRIDDEN, by ann: urgent"
    assert overridden in done("list", "--registry", store.location.directory)


def test_a_server_that_is_not_there_is_one_sentence(
    bundles: Bundles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a server's log file lies below the current directory
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for command in (["list"], ["register", bundles.first], ["rollback", "--by", "a", "--reason", "b"], ["verify"]):
        message = refused(UnavailableError, *command, "--registry", "http://127.0.0.1:9")
        assert "no registry answers at http://127.0.0.1:9" in message


@pytest.mark.parametrize("uri", ["ftp://host/registry", "sqlite:///x.db", "http://", "https://ann:secret@host"])
def test_an_address_that_is_no_registry_is_refused_without_repeating_secrets(uri: str) -> None:
    assert "secret" not in refused(BadConfigError, "list", "--registry", uri)


def test_a_registry_that_was_never_made_is_named(tmp_path: Path) -> None:
    assert f"no registry at {tmp_path}" in refused(MissingArtefactError, "list", "--registry", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_was_never_registered_cannot_be_pulled(store: Store, tmp_path: Path) -> None:
    registry = ("--registry", store.location.directory)
    assert "no version 9" in refused(NotFoundError, "pull", tmp_path / "out", "--version", "9", *registry)
    assert "no alias 'best'" in refused(BadInputError, "pull", tmp_path / "out", "--alias", "best", *registry)


def test_signing_on_the_command_line(bundles: Bundles, empty: Store, tmp_path: Path) -> None:
    bundle = shutil.copytree(bundles.first, tmp_path / "bundle")
    assert "ours.pub" in done("keygen", tmp_path / "ours")
    assert "bundle.sig" in done("sign", bundle, "--private-key", tmp_path / "ours")
    options = ("--public-key", tmp_path / "ours.pub", "--registry", empty.location.directory)
    assert "(signed)" in done("register", bundle, *options)
    done("promote", "--initial", "--by", "ann", "--reason", "the first", *options)
    assert "signature verified" in done("pull", tmp_path / "serving", *options)


def test_showing_the_help_loads_no_heavy_library() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from evaluation.registry.cli import app; "
        "assert CliRunner().invoke(app, ['promote', '--help']).exit_code == 0; "
        "sys.exit(bool({'mlflow', 'sqlalchemy', 'model_signing', 'numpy'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
