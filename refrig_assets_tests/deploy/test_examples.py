"""The files of deploy/: that they can be read, name commands and variables that exist, and agree with each other."""

import re
import shlex
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from refrig_assets.cli import main
from refrig_assets_tests.deploy.processes import DEPLOY, ROOT, tool
from streaming.metrics import metrics_page
from streaming.status import Status

UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
SUBCOMMANDS = {"dagster": 2, "dagster-daemon": 1, "dagster-webserver": 0}


def lines_of(unit: Path, key: str) -> list[str]:
    return [line.partition("=")[2] for line in unit.read_text().splitlines() if line.startswith(f"{key}=")]


def containers() -> list[tuple[str, list[str]]]:
    """Of compose and Kubernetes: who runs what."""
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    found = [(name, c["command"]) for name, c in compose.items() if "command" in c and c["command"][0] != "sh"]
    for document in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()):
        template: dict[str, Any] = document.get("spec", {}).get("template", {})
        found += [(document["metadata"]["name"], c["args"]) for c in template.get("spec", {}).get("containers", [])]
    return found


@cache
def options_of(name: str, *words: str) -> set[str]:
    """Of a command of Dagster's, by its help; asked once, since it takes seconds."""
    told = subprocess.run([tool(name), *words, "--help"], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"--?[a-z-]+", told))


COMMANDS = [*((u.stem, shlex.split(lines_of(u, "ExecStart")[0])) for u in UNITS), *containers()]


@pytest.mark.parametrize(("service", "command"), COMMANDS, ids=[name for name, _ in COMMANDS])
def test_each_service_runs_a_command_that_there_is(service: str, command: list[str]) -> None:
    name = Path(command[0]).name
    options = {word for word in command[1:] if word.startswith("-")}
    if name == "refrig":
        context = click.Context(main)
        chosen: click.Command = main
        for word in command[1:]:
            if isinstance(chosen, click.Group):
                found = chosen.get_command(context, word)
                assert found is not None, f"{service}: no command {word}"
                chosen = found
        known = {option for parameter in chosen.params for option in parameter.opts}
    else:
        assert name in SUBCOMMANDS
        known = options_of(name, *command[1 : 1 + SUBCOMMANDS[name]])
    assert options <= known, f"{service}: no option {options - known}"


@pytest.mark.parametrize("unit", UNITS, ids=[u.stem for u in UNITS])
def test_units_run_as_nobody_special_with_the_one_environment(unit: Path) -> None:
    assert lines_of(unit, "User") == ["refrig"]
    assert lines_of(unit, "EnvironmentFile") == ["/etc/refrig/refrig.env"]
    assert lines_of(unit, "ProtectSystem") == ["strict"]


def test_every_variable_of_the_examples_is_one_that_is_read() -> None:
    sources = [*(ROOT / "refrig_assets").rglob("*.py"), *(ROOT / "streaming").rglob("*.py"), *DEPLOY.glob("*.yaml")]
    read = "\n".join(path.read_text() for path in sources if path.name not in ("compose.yaml", "kubernetes.yaml"))
    texts = [(DEPLOY / name).read_text() for name in ("refrig.env.example", "compose.yaml", "kubernetes.yaml")]
    named = set(re.findall(r"\bREFRIG_[A-Z_]+", "\n".join(texts)))
    assert named
    assert {name for name in named if name not in read} == set()


def test_every_variable_that_is_read_is_in_the_document() -> None:
    sources = [*(ROOT / "refrig_assets").rglob("*.py"), *(ROOT / "streaming").rglob("*.py")]
    read = set(re.findall(r'"(REFRIG_[A-Z_]+)"', "\n".join(path.read_text() for path in sources)))
    document = (ROOT / "docs" / "production.md").read_text()
    inside = {"REFRIG_JSON_ERRORS"}  # one process tells itself
    assert {name for name in read - inside if f"`{name}`" not in document} == set()


def test_the_example_means_the_same_to_systemd_and_to_a_shell() -> None:
    for line in (DEPLOY / "refrig.env.example").read_text().splitlines():
        _, sign, value = line.removeprefix("# ").partition("=") if re.match(r"(# )?[A-Z_]+=", line) else ("", "", "")
        if sign:
            assert shlex.split(value) == [value.strip("'")], line


def test_kubernetes_has_the_instance_of_the_example() -> None:
    documents = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
    told = next(d for d in documents if d["metadata"]["name"] == "refrig-dagster-home")["data"]["dagster.yaml"]
    whole = yaml.safe_load((DEPLOY / "dagster-postgres.yaml").read_text())
    part = yaml.safe_load(told)
    assert part == {key: whole[key] for key in part}


def test_rules_are_over_metrics_that_the_stream_tells() -> None:
    told = {s.name for f in text_string_to_metric_families(metrics_page(Status()).decode()) for s in f.samples}
    told |= {"refrig_stream_lag", "refrig_stream_last_commit_timestamp_seconds"}  # from the first message on
    rules = yaml.safe_load((DEPLOY / "prometheus-rules.yaml").read_text())["groups"][0]["rules"]
    for rule in rules:
        assert set(re.findall(r"refrig_stream_\w+", rule["expr"])) <= told, rule["alert"]
        assert (ROOT / rule["annotations"]["runbook"]).is_file()
