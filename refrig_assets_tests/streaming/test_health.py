"""The health server asked over HTTP, and the heartbeat file."""

import http.client
import json
import socket
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from streaming.counts import Counts
from streaming.health import HealthPortError, HealthServer, Wellness, serve
from streaming.heartbeat import read_heartbeat, write_heartbeat
from streaming.settings import StreamSettings
from streaming.status import Status

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SETTINGS = StreamSettings(lake="/nowhere", source="spool:/nowhere")


def ask(server: HealthServer, path: str, method: str = "GET") -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=30)
    connection.request(method, path)
    answer = connection.getresponse()
    try:
        return answer.status, answer.headers["Content-Type"], answer.read()
    finally:
        connection.close()


def running(**waiting: str) -> Status:
    counts = Counts()
    counts.landed("gw-1", 5, 0, messages=3, rows=3)
    counts.committed(0.1, NOW.timestamp(), NOW.timestamp(), NOW.timestamp())
    counts.waiting(waiting.get("why"))
    status = Status(state="running")
    status.heard(0, 1, json.dumps(counts.to_json()))
    return status


def report(lag: int, commit: str | None = NOW.isoformat(), **told: Any) -> dict[str, Any]:
    partitions = {"gw-1": {"position": 5, "lag": lag}}
    return {"state": "running", "why": None, "partitions": partitions, "last_commit_at": commit, **told}


def test_a_stream_that_runs_is_well_and_tells_how_it_goes() -> None:
    with HealthServer(running(), SETTINGS, 0) as server:
        code, kind, body = ask(server, "/health")
        assert (code, kind, json.loads(body)) == (
            200,
            "application/json",
            {"well": True, "why": [], "state": "running"},
        )
        code, kind, body = ask(server, "/metrics")
        assert (code, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
        assert b"refrig_stream_messages_total 3.0" in body
        code, _, body = ask(server, "/status?pretty")
        assert (code, json.loads(body)["partitions"]) == (200, {"gw-1": {"position": 5, "lag": 0}})
        assert ask(server, "/health", "HEAD")[::2] == (200, b"")
        code, _, body = ask(server, "/")
        assert (code, json.loads(body)["pages"]) == (404, ["/health", "/metrics", "/status"])


def test_a_stream_that_waits_is_not_well_and_says_why() -> None:
    with HealthServer(running(why="disk full"), SETTINGS, 0) as server:
        code, _, body = ask(server, "/health")
    assert code == 503
    assert json.loads(body)["why"] == ["the stream is waiting for lake: disk full"]


@pytest.mark.parametrize("state", ["starting", "stopping", "stopped"])
def test_a_stream_that_does_not_run_is_not_well(state: str) -> None:
    with HealthServer(Status(state=state), SETTINGS, 0) as server:
        code, _, body = ask(server, "/health")
    assert (code, json.loads(body)["why"]) == (503, [f"the stream is {state}"])


def test_messages_that_wait_for_minutes_without_a_commit_are_trouble() -> None:
    wellness = Wellness(stuck_s=120)
    assert wellness.troubles(report(lag=9), NOW) == []
    assert wellness.troubles(report(lag=9), NOW + timedelta(seconds=119)) == []
    (trouble,) = wellness.troubles(report(lag=9), NOW + timedelta(seconds=121))
    assert "gw-1" in trouble
    later = NOW + timedelta(seconds=122)
    assert wellness.troubles(report(lag=9, commit=later.isoformat()), later) == []
    assert wellness.troubles(report(lag=0, commit=later.isoformat()), NOW + timedelta(hours=1)) == []


def test_silence_of_the_fleet_is_no_trouble_of_the_stream() -> None:
    wellness = Wellness(stuck_s=120)
    assert wellness.troubles(report(lag=0), NOW) == []
    assert wellness.troubles(report(lag=5), NOW + timedelta(hours=1)) == []


def test_a_port_in_use_is_told_with_the_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(HealthPortError, match=f"127.0.0.1:{port}: the port is in use. Give another"):
            HealthServer(Status(), SETTINGS, port)
    with pytest.raises(HealthPortError, match="99999"):
        HealthServer(Status(), SETTINGS, 99_999)


def test_the_server_ends_and_frees_its_port_while_a_client_keeps_its_connection() -> None:
    with HealthServer(running(), SETTINGS, 0) as server:
        idle = socket.create_connection((server.host, server.port))
        assert ask(server, "/health")[0] == 200
    with HealthServer(running(), SETTINGS, server.port) as again:
        assert ask(again, "/health")[0] == 200
    idle.close()
    HealthServer(Status(), SETTINGS, 0).__exit__()  # never entered


def test_without_a_port_nothing_is_served() -> None:
    with serve(Status(), SETTINGS, "127.0.0.1", None) as server:
        assert server is None
    with serve(Status(), SETTINGS, "127.0.0.1", 0) as server:
        assert server is not None
        assert ask(server, "/metrics")[0] == 200


def test_a_broken_page_is_told_and_the_server_goes_on() -> None:
    status = running()
    status._heard[9, 9] = {}
    with HealthServer(status, SETTINGS, 0) as server:
        assert ask(server, "/health")[0] == 500
        del status._heard[9, 9]
        assert ask(server, "/health")[0] == 200


def test_a_heartbeat_is_read_as_written_and_never_half(tmp_path: Path) -> None:
    home = tmp_path / "lake" / "_stream"
    assert read_heartbeat(home) is None
    over = threading.Event()

    def beat() -> None:
        number = 0
        while not over.is_set():
            number += 1
            write_heartbeat(home, {"n": number, "copy": [number] * 2000})

    beating = threading.Thread(target=beat)
    beating.start()
    try:
        while not (home / "heartbeat.json").exists():
            pass
        for _ in range(500):
            told = read_heartbeat(home)
            assert told is not None
            assert told["copy"] == [told["n"]] * 2000
    finally:
        over.set()
        beating.join()
    (home / "heartbeat.json").write_text('{"n": ')
    assert read_heartbeat(home) is None
