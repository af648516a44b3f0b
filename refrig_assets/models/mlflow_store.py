"""The MLflow behind the registry: opened once and safely, its errors in our words, and where models' files lie."""

import fcntl
import logging
import os
import re
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from refrig_assets.models.artifacts import save_model, write_directory

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

    from refrig_assets.models.detector import Model

DEFAULT_MODELS = "sqlite:///data/models/mlflow.db"
EXPERIMENT = "refrig"
MODEL_DIR, CARD_DIR = "model", "card"
_LOCK = ".mlflow.lock"
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    # Standard output belongs to the command that runs.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # A server that is down is told of after seconds, not minutes; whoever sets these himself is obeyed.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
# Whatever imports MLflow imports this module first, and MLflow looks at these when it is imported.
for _name, _value in _QUIET.items():
    os.environ.setdefault(_name, _value)

_PASSWORD = re.compile(r"(://[^:/@\s]*:)[^/\s]*@")
_CHANGING = ("readonly", "read-only", "Read-only", "Permission denied")


def without_password(told: str) -> str:
    """The text with a password struck out of every address in it."""
    return _PASSWORD.sub(r"\1***@", told)


class RegistryUnavailableError(RuntimeError):
    """The registry of models cannot be read or written; the message names it and what to do."""


class UnknownVersionError(LookupError):
    """There is no such model, version or alias; the message names those there are."""


@dataclass
class MlflowStore:
    """`uri` is a SQLite file, a directory (a SQLite file in it), an MLflow server, or another database."""

    uri: str
    artifacts: str | None = None
    """where files are kept: a directory or an object store's URI; by default beside a SQLite file, else the server's"""
    _client: "MlflowClient | None" = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if "://" not in self.uri:
            self.uri = f"sqlite:///{self.uri.rstrip('/')}/mlflow.db"
        self.database = _sqlite_file(self.uri)
        if self.database is not None and "?" not in self.uri:
            self.uri = f"sqlite:///{self.database}"
        self.shown = without_password(self.uri)
        """what is told to people: the address without a password that may be in it"""
        kept = self.artifacts or (str(self.database.parent / "artifacts") if self.database else None)
        self.local = Path(kept).absolute() if kept and "://" not in kept else None
        self.remote = kept if self.local is None else None

    @property
    def home(self) -> Path:
        """Where a file beside the registry lies."""
        return self.database.parent if self.database else Path("data/models")

    def client(self, *, create: bool = False) -> "MlflowClient":
        if self.database is not None and not _there(self.database):
            if not create:
                raise RegistryUnavailableError(
                    f"there is no model registry at {self.shown}. Train models first (the job train_all in Dagster), "
                    "or point REFRIG_MODELS to the registry you mean."
                )
            self._initialise(self.database)
        if self._client is None:
            with self.telling():
                self._client = _client(self.uri)
        return self._client

    @contextmanager
    def writing(self) -> Iterator["MlflowClient"]:
        """The client, with the file locked against other writers of this machine; a server sees to that itself."""
        if self.database is None:
            with self.telling():
                yield self.client()
            return
        client = self.client(create=True)
        with self.telling(), _locked(self.database.parent):
            yield client

    @contextmanager
    def telling(self) -> Iterator[None]:
        """MLflow's and the database's errors as one of ours that names the registry."""
        try:
            yield
        except (RegistryUnavailableError, UnknownVersionError):
            raise
        except OSError as error:
            raise self._unavailable(f"{error.filename or ''} {error.strerror or error}".strip()) from error
        except Exception as error:
            if not type(error).__module__.startswith(("mlflow", "sqlalchemy", "requests")):
                raise
            raise self._unavailable(str(error)) from error

    def _unavailable(self, told: str) -> RegistryUnavailableError:
        lines = [line for line in told.splitlines() if line and not line.startswith("(raised as")]
        why = without_password(lines[0]) if lines else "it gave no reason"
        if any(mark in why for mark in _CHANGING):
            remedy = "It can be read but not changed: correct its permissions, or point REFRIG_MODELS to a copy."
        elif "out-of-date database schema" in why:
            remedy = f"It was made by another version of MLflow: back it up, then `mlflow db upgrade {self.shown}`."
        elif self.database is None:
            remedy = "See that the server runs and that REFRIG_MODELS is its address."
        else:
            remedy = "Check the path, its permissions and the free space, or point REFRIG_MODELS to another place."
        return RegistryUnavailableError(
            f"the model registry at {self.shown} does not answer as it should: {why}. {remedy}"
        )

    def _initialise(self, database: Path) -> None:
        """A new SQLite file, made under a lock and beside its place, so that nobody opens half of one.

        (Two processes that open a fresh file both run MLflow's migrations, and one of them crashes.)
        """
        with self.telling():
            database.parent.mkdir(parents=True, exist_ok=True)
            with _locked(database.parent):
                if _there(database):
                    return
                fresh = database.parent / f".incomplete-{uuid.uuid4().hex}.db"
                try:
                    client = _client(f"sqlite:///{fresh}")
                    client.search_registered_models(max_results=1)
                    client.search_experiments(max_results=1)
                    fresh.rename(database)
                finally:
                    fresh.unlink(missing_ok=True)

    # -- files -----------------------------------------------------------------------------------------------------

    def experiment(self, client: "MlflowClient") -> str:
        found = client.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            return str(found.experiment_id)
        where = str(self.local) if self.local else self.remote
        return str(client.create_experiment(EXPERIMENT, artifact_location=where))

    def keep(self, client: "MlflowClient", run_id: str, model: "Model", card: Mapping[str, bytes]) -> str:
        """The files of a model and its card, put where the run's files are; the model's digest."""
        if self.local is not None:
            with self.telling():
                digest = save_model(model, self._place(run_id, MODEL_DIR))
                if card:
                    write_directory(self._place(run_id, CARD_DIR), card)
                return digest
        with tempfile.TemporaryDirectory() as temporary, self.telling():
            digest = save_model(model, Path(temporary) / MODEL_DIR)
            client.log_artifacts(run_id, f"{temporary}/{MODEL_DIR}", MODEL_DIR)
            if card:
                write_directory(Path(temporary) / CARD_DIR, card)
                client.log_artifacts(run_id, f"{temporary}/{CARD_DIR}", CARD_DIR)
            return digest

    def source(self, run_id: str, artifact_uri: str) -> str:
        """Where MLflow is told that a model's files are. (After a move, its runs still name the old place.)"""
        return str(self._place(run_id, MODEL_DIR)) if self.local else f"{artifact_uri}/{MODEL_DIR}"

    @contextmanager
    def files(self, run_id: str, which: str) -> Iterator[Path]:
        """The directory of a model or its card, brought here where it lies elsewhere. It need not exist."""
        if self.local is not None:
            yield self._place(run_id, which)
            return
        from mlflow.exceptions import MlflowException

        with tempfile.TemporaryDirectory() as temporary:
            try:
                self.client().download_artifacts(run_id, which, temporary)
            except MlflowException as error:
                # No such files: whoever reads the directory says so.
                if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"):
                    raise self._unavailable(str(error)) from error
            yield Path(temporary) / which

    def _place(self, run_id: str, which: str) -> Path:
        assert self.local is not None
        if not run_id.isalnum():  # it comes from the registry, and becomes part of a path
            raise UnknownVersionError(f"{run_id!r} is not a run of {self.shown}: the version is not one of ours.")
        return self.local / run_id / "artifacts" / which


def _client(uri: str) -> "MlflowClient":
    """Imported here: it takes most of a second."""
    from mlflow.tracking import MlflowClient

    # What goes wrong is raised, and told by `telling`; its tracebacks beside that help nobody.
    logging.getLogger("mlflow").setLevel(logging.CRITICAL)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _sqlite_file(uri: str) -> Path | None:
    if not uri.startswith("sqlite:///"):
        return None
    path = uri.removeprefix("sqlite:///").partition("?")[0].removeprefix("file:")
    return Path(path).absolute()


def _there(database: Path) -> bool:
    return database.is_file() and database.stat().st_size > 0


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    with (directory / _LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
