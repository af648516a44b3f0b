"""A table of a TOML file that is read with care: wrong types and keys nobody reads are errors that name the place."""

from typing import Any, ClassVar

from refrig_assets.transforms.mapping import nearest


class TomlTable:
    """What is common to our configuration files; each raises an error of its own."""

    error: ClassVar[type[ValueError]] = ValueError

    def __init__(self, path: str, values: object) -> None:
        if not isinstance(values, dict):
            raise self.error(f"[{path}] must be a table, not {values!r}")
        self.path = path
        self.values: dict[str, Any] = values
        self.known: list[str] = []

    def where(self, key: str) -> str:
        return f"{key} of [{self.path}]" if self.path else key

    def get(self, key: str, kind: type | tuple[type, ...], default: Any = None) -> Any:
        self.known.append(key)
        value = self.values.get(key, default)
        kinds = kind if isinstance(kind, tuple) else (kind,)
        if key in self.values and (not isinstance(value, kind) or (isinstance(value, bool) and bool not in kinds)):
            raise self.error(f"{self.where(key)} must be {' or '.join(k.__name__ for k in kinds)}, not {value!r}")
        return value

    def done(self) -> None:
        for key in self.values:
            if key not in self.known:
                hint = nearest(key, self.known)
                raise self.error(f"{self.where(key)} is unknown{hint}; known are: {', '.join(self.known)}")
