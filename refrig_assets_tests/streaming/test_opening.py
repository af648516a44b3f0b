"""URIs of transports, and what is said of wrong ones."""

import re
from pathlib import Path

import pytest

from streaming.transports.kafka import KafkaTransport
from streaming.transports.opening import open_transport
from streaming.transports.spool import SpoolTransport


@pytest.mark.parametrize("form", ["{}", "spool:{}", "spool://{}"])
def test_a_path_is_a_spool(tmp_path: Path, form: str) -> None:
    (tmp_path / "gw").mkdir()
    transport = open_transport(form.format(tmp_path), {})
    assert isinstance(transport, SpoolTransport)
    assert transport.partitions() == ["gw"]


def test_properties_pass_through_and_secrets_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENT_HUBS", "Endpoint=sb://plant+north/;SharedAccessKey=ab+c/=")
    uri = "kafka://plant.servicebus.windows.net:9093/readings?security.protocol=SASL_SSL&sasl.mechanism=PLAIN"
    options = {"sasl.username": "$ConnectionString", "sasl.password": "env:EVENT_HUBS"}
    assert isinstance(open_transport(uri, options), KafkaTransport)


@pytest.mark.parametrize(
    ("uri", "options", "said"),
    [
        ("mqtt://broker/topic", {}, "mqtt: is no transport we know; give spool:/path"),
        ("spool:", {}, "no path"),
        ("kafka://host:9092", {}, "a topic is missing; give kafka://"),
        ("kafka:///topic", {}, "a host"),
        ("kafka://user:secret@host/topic", {}, "sasl.username"),
        ("kafka://host/topic?no.such=1", {}, "No such configuration property"),
        ("kafka://host/topic", {"auto.offset.reset": "latest"}, "auto.offset.reset: set by the stream"),
        ("kafka://host/topic?sasl.password=env:NOT_THERE", {}, "environment variable NOT_THERE is not set"),
        ("spool:/tmp", {"group.id": "x"}, "takes no options"),
    ],
)
def test_a_wrong_uri_says_what_is_wrong_and_what_to_do(uri: str, options: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)) as refused:
        open_transport(uri, options)
    assert "secret" not in str(refused.value)


def test_a_file_is_no_spool(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file"):
        open_transport(str(tmp_path / "file"), {})
