"""Every error a user can meet, sorted by whose fault it is.

    InfEmbedError
    ├── BadInputError (ValueError)            the caller's request
    │   ├── EmptyInputError                   nothing to embed
    │   ├── InputTooLongError                 more tokens than the model takes, truncation refused
    │   ├── TooManyInputsError                more inputs in one request than allowed
    │   └── NotFoundError (LookupError)       no such collection, document or model
    ├── BadConfigError (ValueError)           settings that cannot work
    ├── BadArtefactError (ValueError)         a bundle, corpus, index or report on disk
    │   ├── MissingArtefactError (FileNotFoundError)
    │   ├── AlteredArtefactError              contents do not match the manifest
    │   ├── NewerArtefactError                a later release wrote it
    │   ├── MismatchedArtefactError           two good artefacts that do not belong together
    │   └── UntrustedArtefactError            no signature of the configured key
    ├── StorageError (OSError)                a full disk, or a place that cannot be written
    ├── ConflictError (RuntimeError)          somebody else changed the same thing first
    ├── RefusedReloadError (RuntimeError)     a service keeps its model and index, because the new ones cannot be served
    ├── UnfinishedError (RuntimeError)        long work stopped before its end; the same command goes on with it
    ├── OverloadedError (RuntimeError)        try again later
    │   └── UnavailableError                  still loading, or shutting down
    ├── DeadlineExceededError (TimeoutError)  the caller's time ran out before the work began
    ├── AccessError (PermissionError)         a service wants an API key, or one that may do more
    ├── UnreachableError (ConnectionError)    nothing answers at the address of a service
    ├── ServiceFailureError (RuntimeError)    a service failed, or answered with something that is no answer
    └── NonFiniteError (ArithmeticError)      the model produced NaN or infinity: our bug

A message states what was found, what was expected, and what to do.
"""


class InfEmbedError(Exception):
    """Base of all errors raised on purpose."""


class BadInputError(InfEmbedError, ValueError):
    """The request cannot be served as it is; `param` names the offending field."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class EmptyInputError(BadInputError):
    """An input without any text."""


class InputTooLongError(BadInputError):
    """An input with more tokens than the model takes, and truncation was refused."""


class TooManyInputsError(BadInputError):
    """More inputs in one request than the service accepts."""


class NotFoundError(BadInputError, LookupError):
    """The named collection, document or model does not exist."""


class BadConfigError(InfEmbedError, ValueError):
    """Settings that contradict each other or their bounds."""


class BadArtefactError(InfEmbedError, ValueError):
    """An artefact on disk cannot be used."""


class MissingArtefactError(BadArtefactError, FileNotFoundError):
    """A file or directory that an artefact needs is not there."""

    def __str__(self) -> str:
        return str(self.args[0])


class AlteredArtefactError(BadArtefactError):
    """A file's size or digest is not the one its manifest records."""


class NewerArtefactError(BadArtefactError):
    """A sound artefact that a later release wrote and this one cannot read."""


class MismatchedArtefactError(BadArtefactError):
    """Two sound artefacts that do not belong together, such as an index and another model's bundle."""


class UntrustedArtefactError(BadArtefactError):
    """A bundle without a valid signature of the key that the operator trusts."""


class ConflictError(InfEmbedError, RuntimeError):
    """Somebody else changed the same thing first; nothing was done."""


class RefusedReloadError(InfEmbedError, RuntimeError):
    """The new model or index cannot be served; the service goes on with what it has."""


class UnfinishedError(InfEmbedError, RuntimeError):
    """Long work stopped before its end, with what is done kept: the same command goes on with it."""


class StorageError(InfEmbedError, OSError):
    """The disk is full, or the place cannot be written."""

    def __str__(self) -> str:
        return str(self.args[0])


class OverloadedError(InfEmbedError, RuntimeError):
    """The service has as much work as it can finish in time; `retry_after_s` says when to try again."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UnavailableError(OverloadedError):
    """The service is loading or draining."""


class DeadlineExceededError(InfEmbedError, TimeoutError):
    """The request's time ran out while it waited; it never reached the model."""


class AccessError(InfEmbedError, PermissionError):
    """A service refused the API key: there is none, it is unknown, or it lacks the scope."""


class UnreachableError(InfEmbedError, ConnectionError):
    """No service answers at this address."""


class ServiceFailureError(InfEmbedError, RuntimeError):
    """A service failed on a request, or its answer cannot be read."""


class NonFiniteError(InfEmbedError, ArithmeticError):
    """The model's output held NaN or infinity."""
