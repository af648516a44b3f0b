"""Models on disk: a directory of `model.json` and `arrays.npz`, written whole or not at all, read without unpickling.

The digest of a model is that of its `model.json`, which holds the digest of the arrays. Whoever loads gives the digest
that he expects (the registry keeps it), so that a file that was changed together with its neighbour is refused too.
"""

import hashlib
import io
import json
import os
import re
import shutil
import uuid
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from refrig_assets.models.base import ModelInfo
    from refrig_assets.models.detector import Model

FORMAT = "refrig-model"
FORMAT_VERSION = 1
INFO_FILE = "model.json"
ARRAYS_FILE = "arrays.npz"
TEMPORARY = ".incomplete-"

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*\Z")
_KINDS = "biufU"  # truth, whole numbers, numbers, text: what cannot hold an object
_EPOCH = (1980, 1, 1, 0, 0, 0)
_RETRAIN = "Do not use it: go back to another version (refrig models rollback), or train again."

Arrays = dict[str, npt.NDArray[Any]]


class ArtifactError(RuntimeError):
    """A model's files are missing, changed, or not ours; the message says which and what to do."""


@dataclass(frozen=True)
class Artifact:
    """A model's files, checked, and not yet a model."""

    info: "ModelInfo"
    arrays: Arrays
    digest: str


def save_model(model: "Model", path: Path) -> str:
    """Write a model to a directory that is not there yet; its digest. Killed on the way, there is no directory."""
    if path.exists():
        raise ArtifactError(f"{path} is there already: a model is never written over. Give another directory.")
    arrays = _plain(model.arrays(), str(path))
    packed = _pack(arrays)
    document = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "info": model.info.to_dict(),
        "arrays_sha256": hashlib.sha256(packed).hexdigest(),
        "arrays": {name: [a.dtype.str, list(a.shape)] for name, a in arrays.items()},
    }
    try:
        told = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise ArtifactError(
            f"the metadata of {model.info.model_id} cannot be written as JSON: {error}. "
            "Settings and figures must be plain numbers, text, lists and mappings."
        ) from error
    write_directory(path, {INFO_FILE: told, ARRAYS_FILE: packed})
    return hashlib.sha256(told).hexdigest()


def load_model(path: Path, expected_digest: str, *, model_id: str | None = None) -> "Model":
    """The model of a directory, where its files are what the digest says."""
    from refrig_assets.models import MODELS

    artifact = read_artifact(path, expected_digest, model_id=model_id)
    kind = MODELS.get(artifact.info.model_id)
    if kind is None:
        raise ArtifactError(
            f"{path} holds a model {artifact.info.model_id!r}; known are {', '.join(sorted(MODELS))}. "
            "It was made by another installation: use the version of this package that made it."
        )
    try:
        return kind.restore(artifact.info, artifact.arrays)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"{path} is no {artifact.info.model_id} that this version can restore "
            f"({type(error).__name__}: {error}). {_RETRAIN}"
        ) from error


def read_artifact(path: Path, expected_digest: str, *, model_id: str | None = None) -> Artifact:
    """A model's files, read once and checked: format, digests, names and kinds of the arrays."""
    told, packed = _read(path / INFO_FILE), _read(path / ARRAYS_FILE)
    digest = hashlib.sha256(told).hexdigest()
    if digest != expected_digest:
        raise ArtifactError(
            f"{path / INFO_FILE} is not what was registered (digest {digest[:12]}, expected {expected_digest[:12]}): "
            f"it was changed, or belongs to another version. {_RETRAIN}"
        )
    document = _document(path / INFO_FILE, told)
    if hashlib.sha256(packed).hexdigest() != document["arrays_sha256"]:
        raise ArtifactError(f"{path / ARRAYS_FILE} was changed since it was registered. {_RETRAIN}")
    info = _info(path / INFO_FILE, document["info"])
    if model_id is not None and info.model_id != model_id:
        raise ArtifactError(f"{path} holds a model {info.model_id!r}, not {model_id!r}. {_RETRAIN}")
    return Artifact(info, _unpack(path / ARRAYS_FILE, packed, document["arrays"]), digest)


def write_directory(path: Path, files: Mapping[str, bytes]) -> None:
    """Files in a directory that appears at once, when all of them are on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f"{TEMPORARY}{uuid.uuid4().hex}"
    try:
        temporary.mkdir()
        for name, content in files.items():
            with (temporary / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        _sync(temporary)
        temporary.rename(path)
        _sync(path.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ArtifactError(
            f"{path} is missing: the model's files were moved or deleted. Bring them back, or {_RETRAIN[12:]}"
        ) from None


def _document(path: Path, told: bytes) -> dict[str, Any]:
    try:
        document = json.loads(told)
    except ValueError as error:
        raise ArtifactError(f"{path} is not JSON ({error}). {_RETRAIN}") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ArtifactError(f"{path} is not a model of this product (format {FORMAT!r}). {_RETRAIN}")
    if document.get("format_version") != FORMAT_VERSION:
        raise ArtifactError(
            f"{path} is of format version {document.get('format_version')}, and this package reads {FORMAT_VERSION}: "
            "use the version of the package that made it, or train again."
        )
    missing = [k for k in ("info", "arrays", "arrays_sha256") if k not in document]
    if missing or not isinstance(document["arrays"], dict):
        raise ArtifactError(f"{path} lacks {', '.join(missing) or 'its list of arrays'}. {_RETRAIN}")
    return document


def _info(path: Path, data: Any) -> "ModelInfo":
    from refrig_assets.models.base import ModelInfo

    try:
        return ModelInfo.from_dict(data)
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"{path}: its metadata is incomplete ({type(error).__name__}: {error}). {_RETRAIN}"
        ) from error


# -- arrays ------------------------------------------------------------------------------------------------------


def _plain(arrays: Mapping[str, npt.NDArray[Any]], where: str) -> Arrays:
    """Arrays in the order of their names, of numbers or text alone."""
    bad = sorted(n for n in arrays if not _NAME.match(n))
    if bad:
        raise ArtifactError(f"{where}: {', '.join(map(repr, bad))} cannot be names of arrays")
    kept = {name: np.ascontiguousarray(arrays[name]).reshape(np.shape(arrays[name])) for name in sorted(arrays)}
    objects = [n for n, a in kept.items() if a.dtype.kind not in _KINDS]
    if objects:
        raise ArtifactError(f"{where}: arrays of numbers or text are kept, {', '.join(objects)} is neither")
    return kept


def _pack(arrays: Arrays) -> bytes:
    """An .npz of the same bytes each time: no compression, no clock."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy", _EPOCH), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    return out.getvalue()


def _unpack(path: Path, packed: bytes, declared: Mapping[str, Any]) -> Arrays:
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            members = archive.infolist()
            _check_members(path, members, declared)
            return {m.filename[:-4]: _array(path, archive, m, declared[m.filename[:-4]]) for m in members}
    except (zipfile.BadZipFile, EOFError) as error:
        raise ArtifactError(f"{path} is not an .npz file ({error}). {_RETRAIN}") from error


def _check_members(path: Path, members: list[zipfile.ZipInfo], declared: Mapping[str, Any]) -> None:
    names = [m.filename for m in members]
    odd = [n for n in names if not n.endswith(".npy") or not _NAME.match(n)]
    if odd:
        raise ArtifactError(f"{path} holds {odd[0]!r}, which is not the name of an array. {_RETRAIN}")
    if len(set(names)) != len(names):
        raise ArtifactError(f"{path} holds an array twice. {_RETRAIN}")
    have = {n[:-4] for n in names}
    if missing := sorted(set(declared) - have):
        raise ArtifactError(f"{path} lacks the arrays {', '.join(missing)}. {_RETRAIN}")
    if extra := sorted(have - set(declared)):
        raise ArtifactError(f"{path} holds arrays that its metadata does not name: {', '.join(extra)}. {_RETRAIN}")
    if any(m.compress_type != zipfile.ZIP_STORED or m.file_size != m.compress_size for m in members):
        raise ArtifactError(f"{path} is compressed; models are written plainly, so it is not ours. {_RETRAIN}")


def _array(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, declared: Any) -> npt.NDArray[Any]:
    try:
        with archive.open(member) as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
    except ValueError as error:
        raise ArtifactError(f"{path}: {member.filename} is no plain array ({error}). {_RETRAIN}") from error
    if array.dtype.kind not in _KINDS:
        raise ArtifactError(f"{path}: {member.filename} holds {array.dtype}, neither numbers nor text. {_RETRAIN}")
    if [array.dtype.str, list(array.shape)] != declared:
        raise ArtifactError(
            f"{path}: {member.filename} is not of the kind and shape that the metadata names. {_RETRAIN}"
        )
    return np.asarray(array)
