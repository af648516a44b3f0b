"""From a URI and options to a transport. The only place that knows which transports there are."""

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from streaming.transports.base import Transport
from streaming.transports.spool import SpoolTransport

_FORMS = "spool:/path/to/spool or kafka://host:9092/topic"
_FROM_ENVIRONMENT = "env:"


def open_transport(uri: str, options: Mapping[str, str]) -> Transport:
    """`spool:/path` or a plain path; `kafka://host:9093[,host2:9093]/topic[,topic2]?property=value`.

    Options are properties of librdkafka and count more than those in the URI; `env:NAME` as a value stands for what
    the environment variable holds. Raises a ValueError that says what is wrong and what to do.
    """
    scheme, colon, rest = uri.partition(":")
    if scheme == "kafka" and colon:
        return _kafka(uri, options)
    if scheme == "spool" and colon:
        return _spool(rest.removeprefix("//"), options)
    if not colon or "/" in scheme or os.path.isdir(uri):
        return _spool(uri, options)
    raise ValueError(f"{scheme}: is no transport we know; give {_FORMS}")


def _spool(path: str, options: Mapping[str, str]) -> Transport:
    if options:
        raise ValueError(f"a spool takes no options, but was given {', '.join(sorted(options))}; leave them out")
    if not path:
        raise ValueError("the spool has no path; give spool:/path/to/spool")
    directory = Path(path)
    if directory.exists() and not directory.is_dir():
        raise ValueError(f"{directory} is a file; a spool is a directory with a directory for each partition")
    return SpoolTransport(directory)


def _kafka(uri: str, options: Mapping[str, str]) -> Transport:
    try:
        from streaming.transports.kafka import KafkaTransport
    except ImportError as error:
        raise ValueError(f"confluent-kafka cannot be loaded ({error}); pip install confluent-kafka") from error
    # In queries a plus is a blank, but passwords are written as they are.
    parts = urlsplit(uri.replace("+", "%2B"))
    topics = [unquote(t) for t in parts.path.strip("/").split(",") if t]
    if "@" in parts.netloc:
        raise ValueError("kafka: user and password do not go before the host; give sasl.username and sasl.password")
    if not parts.netloc or not topics:
        raise ValueError("kafka: a host or a topic is missing; give kafka://host:9092/topic[,topic2]")
    given = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    properties = {name: _value(name, text) for name, text in {**given, **options}.items()}
    return KafkaTransport(parts.netloc, topics, properties)


def _value(name: str, text: str) -> str:
    if not text.startswith(_FROM_ENVIRONMENT):
        return text
    variable = text.removeprefix(_FROM_ENVIRONMENT)
    try:
        return os.environ[variable]
    except KeyError:
        raise ValueError(f"{name}: the environment variable {variable} is not set; set it or give the value") from None
