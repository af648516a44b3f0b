"""What docs/production.md, docs/ml.md and the runbooks say to type: commands, options, jobs and links that exist."""

import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest

from refrig_assets.cli import main
from refrig_assets.definitions import defs
from refrig_assets.models.base import Roles
from refrig_assets_tests.deploy.processes import ROOT
from refrig_assets_tests.models.registry_tools import ROLES, rows

DOCUMENTS = [
    ROOT / "docs" / "production.md",
    ROOT / "docs" / "ml.md",
    *sorted((ROOT / "docs" / "runbooks").glob("*.md")),
]
each = pytest.mark.parametrize("document", DOCUMENTS, ids=[d.stem for d in DOCUMENTS])


def typed(document: Path) -> list[str]:
    """Lines of shell blocks, and what stands between backticks."""
    text = document.read_text()
    blocks = re.findall(r"```(?:bash)?\n(.*?)```", text, re.DOTALL)
    lines = [line.removeprefix("$ ") for block in blocks for line in re.sub(r"\\\n\s*", "", block).splitlines()]
    return [*lines, *re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))]


def commands(document: Path, name: str) -> list[list[str]]:
    found = []
    for line in typed(document):
        for part in re.split(r"&&|;|\||  #", line):
            if re.match(rf"\s*{name} [a-z]", part):
                found.append(shlex.split(part.replace("…", ""), comments=True)[1:])
    return found


@each
def test_every_command_and_option_exists(document: Path) -> None:
    for words in commands(document, "refrig"):
        chosen: click.Command = main
        for word in words:
            if isinstance(chosen, click.Group):
                found = chosen.get_command(click.Context(main), word)
                assert found is not None, f"refrig {' '.join(words)}: no command {word}"
                chosen = found
        known = {"--help", *(option for parameter in chosen.params for option in parameter.opts)}
        options = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert options <= known, f"refrig {' '.join(words)}: no option {sorted(options - known)}"


@each
def test_every_job_that_is_launched_exists(document: Path) -> None:
    for words in commands(document, "dagster"):
        if "-j" in words:
            name = words[words.index("-j") + 1]
            assert defs.resolve_job_def(name).name == name


@each
def test_every_link_leads_somewhere(document: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", document.read_text()):
        if target.startswith("http"):
            continue
        place = (document.parent / target).resolve() if target else document
        assert place.exists(), f"{document.name}: {target}"
        if anchor:
            titles = re.findall(r"^#+ (.*)$", place.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^a-z0-9 _-]", "", t.lower()).replace(" ", "-") for t in titles}, anchor


def test_the_detector_of_the_page_is_one() -> None:
    text = (ROOT / "docs" / "ml.md").read_text()
    (block,) = [b for b in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "BeyondUsualCore" in b]
    page: dict[str, Any] = {"__name__": "page"}
    exec(block.partition("\nmodel = ")[0], page)
    roles: Roles = ROLES
    model = page["BeyondUsual"].fit(rows(0), roles)
    odd = rows(1).with_columns(a=rows(1)["a"] + 15.0)
    assert (model.score(odd)["anomaly_score"] > model.score(rows(1))["anomaly_score"]).all()
    core = page["BeyondUsualCore"]
    kept = core.fit(None, None, {}, 0)
    assert core.restore(kept.arrays(), {}).usual == kept.usual
