"""The registry in MLflow: bundles as model versions, aliases, and the committed chain of decisions.

Each decision is one version of a second registered model. MLflow numbers versions in one transaction, on SQLite as
on a server, so creating one is the commit: of two processes that saw the same head, the lower number wins.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

from evaluation.registry.database import create_database, other_schema
from evaluation.registry.entries import Entry, Release, State, fold, read_line, write_line
from evaluation.registry.location import Location
from evaluation.registry.mlflow_library import Metric, MlflowClient, MlflowException
from infembed.artefacts import sha256_file
from infembed.bundle import Bundle
from infembed.errors import (
    AlteredArtefactError,
    ConflictError,
    MissingArtefactError,
    UnavailableError,
    UntrustedArtefactError,
)
from infembed.signatures import verify_signature

MODEL = "inf-embed"
DECISIONS = "inf-embed-decisions"
CHAMPION = "champion"
CANDIDATE = "candidate"
_ENTRY_TAG = "entry"
_SOURCE = "infembed:/decisions"
_BUNDLE = "bundle"
_PAGE = 1000


class Store:
    """Talks to MLflow; every failure of the connection is an UnavailableError."""

    def __init__(self, location: Location) -> None:
        self.location = location
        with self._talking():
            self._client = MlflowClient(tracking_uri=location.uri, registry_uri=location.uri)

    @classmethod
    def open(cls, location: Location, *, create: bool = False) -> Self:
        """Connect; `create` makes an embedded registry that is not there yet."""
        if location.server is None and not location.database.is_file():
            if not create:
                raise MissingArtefactError(
                    f"no registry at {location}; register a bundle first, or name the registry with --registry"
                )
            create_database(location)
        store = cls(location)
        if create:
            store._create_models()
        return store

    def state(self) -> State:
        """Read and verify the committed chain."""
        with self._talking():
            versions = [] if self._model(DECISIONS) is None else self._versions(DECISIONS)
        for number, version in enumerate(versions, start=1):
            if int(version.version) != number:
                raise AlteredArtefactError(
                    f"the decision log in {self.location} lacks its record {number}; somebody deleted it: "
                    "compare with the file of another copy before trusting the registry"
                )
        where = f"decision log in {self.location}"
        entries = [
            read_line(str(version.tags.get(_ENTRY_TAG, "")), where=f"{where}, record {version.version}")
            for version in versions
        ]
        return fold(entries, where=where)

    def commit(self, entry: Entry) -> State:
        """Append an entry: the one step that changes what is in production; raises if another process was faster."""
        try:
            self._client.create_model_version(
                DECISIONS, source=_SOURCE, tags={_ENTRY_TAG: write_line(entry)}, await_creation_for=0
            )
        except MlflowException as error:
            failure: MlflowException | None = error
        else:
            failure = None
        state = self.state()  # also after a failure: the answer may have been lost after the commit
        if any(ours.id == entry.id for ours in state.entries):
            return state
        if state.head != entry.previous:
            winner = state.entries[-1]
            raise ConflictError(
                f"somebody else was faster: {winner.by} did a {winner.action} at {winner.at}; nothing was changed, "
                "look with `infembed registry list` and decide again"
            )
        raise UnavailableError(f"the registry {self.location} took no decision: {failure}", retry_after_s=1.0)

    def upload(self, bundle: Bundle, tags: Mapping[str, str]) -> Release:
        """Store a bundle as a model version; the same digest again is the version that is there."""
        with self._talking():
            found = self._version_of(bundle.digest)
            if found is None:
                run = self._client.create_run(self._experiment(), run_name=bundle.manifest.name)
                run_id = run.info.run_id
                self._client.log_artifacts(run_id, str(bundle.path.resolve()), _BUNDLE)
                mine = self._client.create_model_version(
                    MODEL,
                    source=f"runs:/{run_id}/{_BUNDLE}",
                    run_id=run_id,
                    tags={"bundle_digest": bundle.digest, **tags},
                    await_creation_for=0,
                )
                found = self._version_of(bundle.digest)
                if found.version != mine.version:  # two registered it at once: the lower number stays
                    self._client.delete_model_version(MODEL, mine.version)
        return Release(
            version=int(found.version),
            run_id=found.run_id,
            name=bundle.manifest.name,
            fusion=bundle.manifest.fusion,
            bundle_digest=bundle.digest,
            document_fingerprint=bundle.manifest.document_fingerprint,
        )

    def upload_signature(self, release: Release, signature: Path) -> Release:
        """Store a signature beside a version, by its content; returns the release with it."""
        digest = sha256_file(signature)
        with self._talking(), tempfile.TemporaryDirectory() as directory:
            copy = Path(directory) / f"{digest}.sig"
            copy.write_bytes(signature.read_bytes())
            self._client.log_artifact(release.run_id, str(copy), "signatures")
            self._client.set_model_version_tag(MODEL, str(release.version), "signature_sha256", digest)
        return release.model_copy(update={"signature_sha256": digest})

    def put(self, release: Release, folder: str, files: Mapping[str, bytes]) -> None:
        """Store small files beside a version."""
        with self._talking(), tempfile.TemporaryDirectory() as directory:
            for name, data in files.items():
                (Path(directory) / name).write_bytes(data)
            self._client.log_artifacts(release.run_id, directory, folder)

    def put_metrics(self, release: Release, metrics: Mapping[str, float], *, timestamp_ms: int) -> None:
        """Store metrics on a version's run."""
        with self._talking():
            self._client.log_batch(
                release.run_id, metrics=[Metric(name, value, timestamp_ms, 0) for name, value in metrics.items()]
            )

    def fetch(self, release: Release, directory: Path, *, public_key: Path | None) -> Bundle:
        """Bring a bundle into `directory` (and its signature beside it), checked against the decision log."""
        if public_key is not None and release.signature_sha256 is None:
            raise UntrustedArtefactError(
                f"{release} is not signed, but the public key {public_key} is configured; sign "
                "the bundle (`infembed registry sign`) and register it again, or amend the champion with --signature"
            )
        self._download(release, _BUNDLE, directory)
        if release.signature_sha256:
            self._fetch_signature(release, directory)
        bundle = Bundle.open(directory / _BUNDLE)
        if bundle.digest != release.bundle_digest:
            raise AlteredArtefactError(
                f"the registry's files of {release} have digest {bundle.digest[:12]}: they were altered; "
                "register the bundle in a fresh registry or restore this one"
            )
        if public_key is not None:
            verify_signature(bundle.path, public_key)
        return bundle

    def aliases(self) -> dict[str, int]:
        """Return the aliases of the model and the versions they point to."""
        with self._talking():
            model = self._model(MODEL)
            return {} if model is None else {name: int(version) for name, version in model.aliases.items()}

    def set_alias(self, alias: str, version: int | None) -> None:
        """Point an alias to a version; None removes it."""
        with self._talking():
            if version is None:
                self._client.delete_registered_model_alias(MODEL, alias)
            else:
                self._client.set_registered_model_alias(MODEL, alias, str(version))

    def _fetch_signature(self, release: Release, directory: Path) -> None:
        name = f"signatures/{release.signature_sha256}.sig"
        with tempfile.TemporaryDirectory(dir=directory) as temporary:
            found = self._download(release, name, Path(temporary))
            if sha256_file(found) != release.signature_sha256:
                raise AlteredArtefactError(
                    f"the registry's signature of {release} is not the one that was registered: it was altered; "
                    "sign the bundle again and record it with `infembed registry amend --signature`"
                )
            found.replace(directory / f"{_BUNDLE}.sig")

    def _download(self, release: Release, name: str, directory: Path) -> Path:
        try:
            return Path(self._client.download_artifacts(release.run_id, name, str(directory)))
        except MlflowException as error:  # MLflow hides the reason; a server that is away was noticed before
            raise MissingArtefactError(
                f"the registry {self.location} does not give out {name} of {release}: it was deleted, or the "
                "connection broke; try again, then restore the registry or register the bundle in a fresh one"
            ) from error

    def _version_of(self, digest: str) -> Any:
        found = self._versions(MODEL, f" and tags.bundle_digest = '{digest}'")
        return found[0] if found else None

    def _versions(self, model: str, condition: str = "") -> list[Any]:
        found: list[Any] = []
        token = None
        while True:
            page = self._client.search_model_versions(
                f"name = '{model}'{condition}", max_results=_PAGE, order_by=["version_number ASC"], page_token=token
            )
            found += page
            token = page.token
            if not token:
                return found

    def _model(self, name: str) -> Any:
        try:
            return self._client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise

    def _create_models(self) -> None:
        for name in (MODEL, DECISIONS):
            with self._talking():
                if self._model(name) is None:
                    _unless_there(partial(self._client.create_registered_model, name))

    def _experiment(self) -> str:
        """Return the experiment whose runs hold the files; embedded, they lie beside the database."""
        place = None if self.location.server else (self.location.directory / "artifacts").as_uri()
        if self._client.get_experiment_by_name(MODEL) is None:
            _unless_there(partial(self._client.create_experiment, MODEL, artifact_location=place))
        return str(self._client.get_experiment_by_name(MODEL).experiment_id)

    @contextmanager
    def _talking(self) -> Iterator[None]:
        try:
            yield
        except MlflowException as error:
            if "out-of-date database schema" in str(error):
                raise other_schema(self.location) from error
            if "Max retries exceeded" in str(error) or "failed with exception" in str(error):
                raise UnavailableError(
                    f"no registry answers at {self.location}; start the MLflow server there or correct --registry",
                    retry_after_s=1.0,
                ) from error
            words = " ".join(str(error).split())[:300]
            raise UnavailableError(f"the registry {self.location} refused: {words}", retry_after_s=1.0) from error


def _unless_there(create: Callable[[], object]) -> None:
    try:
        create()
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another process made it
            raise
