"""Says a thing once and, where it passes, that it has passed. For states that a polling loop sees each time."""

import logging


class Told:
    """What was said already of one partition or server."""

    def __init__(self, log: logging.Logger, about: str) -> None:
        self._log = log
        self._about = about
        self._said: set[str] = set()

    def warn(self, topic: str, text: str) -> None:
        if topic not in self._said:
            self._said.add(topic)
            self._log.warning("%s: %s", self._about, text)

    def over(self, topic: str, text: str) -> None:
        """What was warned of has passed; nothing is said where nothing was."""
        if topic in self._said:
            self._said.discard(topic)
            self._log.info("%s: %s", self._about, text)
