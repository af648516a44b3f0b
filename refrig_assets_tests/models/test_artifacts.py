"""Models on disk: the same scores after a round trip, the same bytes, and nothing tampered or foreign is let in."""

import hashlib
import io
import json
import os
import pickle
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refrig_assets.models.artifacts import (
    ARRAYS_FILE,
    INFO_FILE,
    ArtifactError,
    load_model,
    read_artifact,
    save_model,
    write_directory,
)
from refrig_assets_tests.models.registry_tools import MODEL, fitted, rows


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, str]:
    return tmp_path / "model", save_model(fitted(), tmp_path / "model")


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def forged(path: Path, change: Callable[[dict[str, Any]], None], arrays: bytes | None = None) -> str:
    """Change a saved model as somebody would who keeps its digests right; the digest of the result."""
    if arrays is not None:
        (path / ARRAYS_FILE).write_bytes(arrays)
    document = json.loads((path / INFO_FILE).read_bytes())
    document["arrays_sha256"] = sha((path / ARRAYS_FILE).read_bytes())
    change(document)
    told = json.dumps(document).encode()
    (path / INFO_FILE).write_bytes(told)
    return sha(told)


def npz(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def npy(array: Any, *, allow_pickle: bool = False) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, np.asarray(array), allow_pickle=allow_pickle)
    return out.getvalue()


def test_a_model_scores_the_same_after_a_round_trip(saved: tuple[Path, str]) -> None:
    loaded = load_model(*saved, model_id=MODEL)
    assert loaded.score(rows(3), reasons="all").equals(fitted().score(rows(3), reasons="all"))
    assert loaded.info == fitted().info


def test_the_same_model_gives_the_same_bytes(saved: tuple[Path, str], tmp_path: Path) -> None:
    path, digest = saved
    assert save_model(fitted(), tmp_path / "again") == digest
    assert all((path / n).read_bytes() == (tmp_path / "again" / n).read_bytes() for n in (INFO_FILE, ARRAYS_FILE))


def test_a_model_is_never_written_over(saved: tuple[Path, str]) -> None:
    with pytest.raises(ArtifactError, match="never written over"):
        save_model(fitted(), saved[0])


def test_what_was_changed_is_refused(saved: tuple[Path, str]) -> None:
    path, digest = saved
    for name, says in ((ARRAYS_FILE, "was changed since it was registered"), (INFO_FILE, "not what was registered")):
        good = (path / name).read_bytes()
        (path / name).write_bytes(good[:-9] + bytes([good[-9] ^ 1]) + good[-8:])
        with pytest.raises(ArtifactError, match=says) as refused:
            load_model(path, digest)
        assert "rollback" in str(refused.value)
        (path / name).write_bytes(good)
    load_model(path, digest)


def test_a_change_with_its_digests_set_right_is_refused(saved: tuple[Path, str]) -> None:
    path, digest = saved
    forged(path, lambda d: d["info"].update(threshold=0.99))
    with pytest.raises(ArtifactError, match=r"digest [0-9a-f]{12}, expected"):
        load_model(path, digest)


def test_missing_files_are_named(saved: tuple[Path, str]) -> None:
    path, digest = saved
    (path / ARRAYS_FILE).unlink()
    with pytest.raises(ArtifactError, match=r"arrays\.npz is missing.*Bring them back"):
        load_model(path, digest)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d.update(format="someone-elses"), "not a model of this product"),
        (lambda d: d.update(format_version=99), "format version 99, and this package reads 1"),
        (lambda d: d["info"].update(model_id="oracle"), "holds a model 'oracle', not 'statistical_baseline'"),
        (lambda d: d["info"].pop("roles"), "metadata is incomplete.*roles"),
        (lambda d: d.pop("arrays"), "lacks arrays"),
        (lambda d: d.update(arrays=[]), "lacks its list of arrays"),
        (lambda d: d["arrays"].update(extra=["<f8", [1]]), "lacks the arrays extra"),
        (lambda d: d["arrays"].pop("scale.tail"), "metadata does not name: scale.tail"),
        (lambda d: d["arrays"].update({"scale.tail": ["<f8", [9]]}), "not of the kind and shape"),
    ],
)  # fmt: skip
def test_foreign_metadata_is_refused(
    saved: tuple[Path, str], change: Callable[[dict[str, Any]], None], says: str
) -> None:
    digest = forged(saved[0], change)
    with pytest.raises(ArtifactError, match=says):
        load_model(saved[0], digest, model_id=MODEL)


def test_a_model_that_this_installation_does_not_know_is_named(saved: tuple[Path, str]) -> None:
    digest = forged(saved[0], lambda d: d["info"].update(model_id="oracle"))
    with pytest.raises(ArtifactError, match=r"'oracle'; known are .*statistical_baseline"):
        load_model(saved[0], digest)


def test_metadata_that_is_no_json_is_refused(saved: tuple[Path, str]) -> None:
    (saved[0] / INFO_FILE).write_bytes(pickle.dumps("hello"))
    with pytest.raises(ArtifactError, match="is not JSON"):
        load_model(saved[0], sha(pickle.dumps("hello")))


class Trap:
    """Unpickled, it leaves a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_nothing_is_unpickled(saved: tuple[Path, str], tmp_path: Path) -> None:
    caught = tmp_path / "caught"
    trap = np.array([Trap(caught)], dtype=object)
    for content in (npy(trap, allow_pickle=True), pickle.dumps(Trap(caught))):
        digest = forged(saved[0], lambda d: d.update(arrays={"a": ["|O", [1]]}), npz({"a.npy": content}))
        with pytest.raises(ArtifactError, match="is no plain array"):
            load_model(saved[0], digest)
    assert not caught.exists()


def test_odd_archives_are_refused(saved: tuple[Path, str]) -> None:
    one = npy([1.0])
    for arrays, says in (
        (npz({"../../evil.npy": one}), r"holds '../../evil.npy', which is not the name of an array"),
        (npz({"/etc/evil.npy": one}), "not the name of an array"),
        (npz({"a.txt": one}), "not the name of an array"),
        (npz({"a.npy": one}, zipfile.ZIP_DEFLATED), "is compressed"),
        (b"PK no zip", "not an .npz file"),
        (npz({"a.npy": npy(np.array([1], "M8[us]"))}), "neither numbers nor text"),
        (npz({"a.npy": one[:-3]}), "is no plain array"),
    ):
        digest = forged(saved[0], lambda d: d.update(arrays={"a": ["<f8", [1]]}), arrays)
        with pytest.raises(ArtifactError, match=says):
            read_artifact(saved[0], digest)


def test_arrays_that_a_model_cannot_be_restored_from_are_refused(saved: tuple[Path, str]) -> None:
    digest = forged(saved[0], lambda d: d.update(arrays={"a": ["<f8", [1]]}), npz({"a.npy": npy([1.0])}))
    with pytest.raises(ArtifactError, match="no statistical_baseline that this version can restore"):
        load_model(saved[0], digest)


def test_objects_and_bad_figures_are_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = fitted()
    monkeypatch.setattr(model, "arrays", lambda: {"a": np.array([object()])})
    with pytest.raises(ArtifactError, match="a is neither"):
        save_model(model, tmp_path / "x")
    monkeypatch.setattr(model, "arrays", lambda: {"../a": np.zeros(1)})
    with pytest.raises(ArtifactError, match="cannot be names of arrays"):
        save_model(model, tmp_path / "x")
    monkeypatch.undo()
    monkeypatch.setitem(model.info.trained, "loss", float("nan"))  # type: ignore[arg-type]
    with pytest.raises(ArtifactError, match="cannot be written as JSON"):
        save_model(model, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_directory_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    code = (
        "import os, signal\nfrom pathlib import Path\nfrom refrig_assets.models.artifacts import write_directory\n"
        "os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"write_directory(Path({str(tmp_path / 'whole')!r}), {{'a': b'1', 'b': b'2'}})"
    )
    done = subprocess.run([sys.executable, "-c", code], env=os.environ, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "whole").exists()
    write_directory(tmp_path / "whole", {"a": b"1", "b": b"2"})
    assert sorted(p.name for p in (tmp_path / "whole").iterdir()) == ["a", "b"]
