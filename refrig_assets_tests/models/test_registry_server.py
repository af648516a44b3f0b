"""The registry over an MLflow server: the same, with the files in the server's own store."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError

import pytest

from refrig_assets.models.artifacts import ArtifactError
from refrig_assets.models.card import model_card
from refrig_assets.models.registry import Registry, UnknownVersionError
from refrig_assets.models.serving import Served
from refrig_assets_tests.models.registry_tools import AT, MODEL, fitted, registry_at, release, rows


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Its address, and where it keeps files."""
    home = tmp_path_factory.mktemp("server")
    registry_at(home / "models")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{home}/models/mlflow.db",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(home / "kept"),
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
    }
    with (home / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", f"from mlflow.server import app; app.run('127.0.0.1', {port})"],
            env=environment, stdout=log, stderr=log, cwd=home,
        )  # fmt: skip
    try:
        _wait(f"http://127.0.0.1:{port}/health", process, home / "log")
        yield f"http://127.0.0.1:{port}", home / "kept"
    finally:
        process.kill()
        process.wait()


def _wait(address: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    while process.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except URLError:
            time.sleep(0.2)
    raise RuntimeError(log.read_text())


def test_a_server_does_as_a_file_does(server: tuple[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    address, kept = server
    registry = Registry(address)
    assert registry.serving(MODEL) == []
    with pytest.raises(UnknownVersionError, match="has no version of"):
        registry.load(MODEL, "1")
    card = model_card(fitted().info)
    assert registry.register(fitted(), card, {"flag_rate": 0.01}, {"seed": 7}) == "1"
    assert registry.card(MODEL, "1") == card.files()
    assert registry.figures(MODEL, "1")[0] == {"flag_rate": 0.01}
    assert [release(registry, seed) for seed in (1, 2)] == ["2", "3"]
    assert registry.card(MODEL, "3") == {}
    assert registry.rollback(MODEL, by="ann", now=AT).says == "statistical_baseline 2 rolled back in place of 3 by ann"
    assert registry.serving(MODEL) == [Served("2", "champion")]
    model, found = registry.load(MODEL, "pinned")
    assert model.score(rows()).equals(fitted(1).score(rows()))
    assert capfd.readouterr() == ("", "")  # nothing but a command's own output
    (arrays,) = kept.rglob(f"{found.run_id}/**/arrays.npz")
    arrays.write_bytes(arrays.read_bytes()[:-1] + b"!")
    with pytest.raises(ArtifactError, match="was changed since it was registered"):
        registry.load(MODEL, "pinned")
