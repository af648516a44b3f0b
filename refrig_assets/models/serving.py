"""Which version of a model scores whom: the pinned or released one, and routes that give a cohort or region another."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

ServingRole = Literal["champion", "challenger", "shadow"]

ROUTES_FILE = "routes.toml"
_KEYS = {"model", "cohort", "region", "version"}
_EXAMPLE = '[[route]] with model = "isolation_forest", cohort = "c-7" (or region = "north") and version = "3"'


class RoutesError(ValueError):
    """The routes file is wrong; the message names the file, the entry and what to write."""


@dataclass(frozen=True)
class Route:
    """A cohort's or a region's own version of a model."""

    model_id: str
    version: str
    cohort: str | None = None
    region: str | None = None

    @property
    def whom(self) -> str:
        return f"cohort {self.cohort}" if self.cohort is not None else f"region {self.region}"


@dataclass(frozen=True)
class Served:
    version: str
    role: ServingRole


@dataclass(frozen=True)
class ServingPlan:
    """Who is scored by which version, as the registry and the routes said at one moment."""

    model_id: str
    champion: str | None
    """None where nothing was ever released"""
    pinned: bool = False
    challenger: str | None = None
    shadow: str | None = None
    routes: tuple[Route, ...] = ()

    def of(self, *, cohort: str | None = None, region: str | None = None) -> list[Served]:
        """The champion first. A cohort's route wins over its region's; both win over what all others get."""
        champion = self.champion
        for route in self.routes:
            if route.region is not None and route.region == region:
                champion = route.version
        for route in self.routes:
            if route.cohort is not None and route.cohort == cohort:
                champion = route.version
        roles: list[tuple[ServingRole, str | None]] = [
            ("champion", champion), ("challenger", self.challenger), ("shadow", self.shadow)
        ]  # fmt: skip
        seen: set[str] = set()
        served = []
        for role, version in roles:
            if version is not None and version not in seen:
                seen.add(version)
                served.append(Served(version, role))
        return served

    @property
    def versions(self) -> list[str]:
        """Every version that scores somebody."""
        all_of = [self.champion, self.challenger, self.shadow, *(r.version for r in self.routes)]
        return list(dict.fromkeys(v for v in all_of if v is not None))


def read_routes(path: Path, models: Sequence[str]) -> tuple[Route, ...]:
    """The routes of a file; none where there is no file."""
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RoutesError(f"{path} is not TOML: {error}. Write {_EXAMPLE}.") from error
    if unknown := sorted(set(told) - {"route"}):
        raise RoutesError(f"{path}: {unknown[0]!r} is not known there. Write {_EXAMPLE}.")
    entries = told.get("route", [])
    if not isinstance(entries, list):
        raise RoutesError(f"{path}: route must be a list of tables, so [[route]] rather than [route].")
    routes: list[Route] = []
    for number, entry in enumerate(entries, start=1):
        route = _route(f"{path}, route {number}", entry, models)
        if any((r.model_id, r.whom) == (route.model_id, route.whom) for r in routes):
            raise RoutesError(f"{path}, route {number}: {route.whom} has a version of {route.model_id} already.")
        routes.append(route)
    return tuple(routes)


def _route(where: str, entry: Any, models: Sequence[str]) -> Route:
    if not isinstance(entry, Mapping):
        raise RoutesError(f"{where}: {entry!r} is not a table. Write {_EXAMPLE}.")
    if unknown := sorted(set(entry) - _KEYS):
        raise RoutesError(f"{where}: {unknown[0]!r} is none of {', '.join(sorted(_KEYS))}.")
    for key in ("model", "version"):
        if key not in entry:
            raise RoutesError(f"{where}: {key} is missing. Write {_EXAMPLE}.")
    if len({"cohort", "region"} & set(entry)) != 1:
        raise RoutesError(f"{where}: name either a cohort or a region, and not both.")
    for key in ("model", "cohort", "region"):
        if key in entry and not (isinstance(entry[key], str) and entry[key]):
            raise RoutesError(f"{where}: {key} must be a text in quotes, not {entry[key]!r}.")
    if entry["model"] not in models:
        raise RoutesError(f"{where}: there is no model {entry['model']!r}; known are {', '.join(models)}.")
    version = entry["version"]
    if isinstance(version, bool) or not isinstance(version, int | str) or not str(version):
        raise RoutesError(f"{where}: version must be a number or an alias such as 'staging', not {version!r}.")
    return Route(entry["model"], str(version), entry.get("cohort"), entry.get("region"))
