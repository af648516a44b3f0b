"""`refrig models`: what it prints, how it ends, and what the registry holds afterwards."""

import json
import re
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from refrig_assets.cli import main
from refrig_assets.cli.models import COMMANDS
from refrig_assets.lake import Lake
from refrig_assets.models import Model, Roles, StatisticalBaseline
from refrig_assets.models.card import model_card
from refrig_assets.models.registry import Registry
from refrig_assets.pipeline.model_rows import model_rows
from refrig_assets.pipeline.registry import write_registry
from refrig_assets_tests.builders import HOUR, registry_of
from refrig_assets_tests.models.registry_tools import AT, MODEL, fitted, registry_at
from refrig_assets_tests.windows import windows, write_windows

FEATURES = ("temp_evaporator_mean", "pressure_low_mean", "current_compressor_mean")
DEVICES = [f"dev-{n}" for n in range(6)]


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """Versions 1 and 2 were released."""
    return registry_at(tmp_path / "models", 0, 1)


def run(registry: Registry, *arguments: str, **environment: str) -> Result:
    return CliRunner(env={"REFRIG_MODELS": registry.uri, **environment}).invoke(main, ["models", *arguments])


def document(result: Result) -> dict[str, Any]:
    found = json.loads(result.stdout)
    assert isinstance(found, dict)
    return found


def test_every_command_teaches() -> None:
    for command in COMMANDS:
        result = CliRunner().invoke(main, ["models", command, "--help"])
        assert result.exit_code == 0
        assert f"refrig models {command}" in result.output.split("Examples:")[1]


def test_list_shows_who_scores(registry: Registry) -> None:
    registry.register(fitted(2))
    registry.promote(MODEL, "3", "challenger", by="ann", now=AT)
    registry.routes_file.write_text(f'[[route]]\nmodel = "{MODEL}"\ncohort = "c-7"\nversion = 1\n')
    text = run(registry, "list").output
    assert re.search(r"statistical_baseline +2 +released +champion ", text)
    assert re.search(r"statistical_baseline +3 +draft +challenger ", text)
    assert re.search(r"statistical_baseline +1 +retired +cohort c-7 ", text)
    found = document(run(registry, "list", "--json"))["models"][MODEL]
    assert (found["champion"], found["pinned"]) == ("2", False)
    assert [v["version"] for v in found["versions"]] == ["3", "2", "1"]


def test_what_is_wrong_is_named_with_a_remedy(registry: Registry, tmp_path: Path) -> None:
    missing = run(registry, "list", REFRIG_MODELS=str(tmp_path / "none"))
    assert missing.exit_code == 1
    assert "no model registry at sqlite:" in missing.stderr
    assert "Train models first" in missing.stderr
    assert "no version of 'oracle'; models there: statistical_baseline" in run(registry, "list", "oracle").stderr
    assert "no version '9'. It has 2, 1" in run(registry, "show", MODEL, "9").stderr
    waiting = run(registry, "compare", MODEL, "released", "staging").stderr
    assert f"no version of {MODEL} is staging: a new training brings one there" in waiting
    told = run(registry, "show", MODEL, "9", "--json")
    assert document(told)["kind"] == "UnknownVersionError"
    registry.routes_file.write_text("[[route]]\nmodel = 'oracle'\nversion = 1\ncohort = 'a'")
    assert "there is no model 'oracle'; known are autoencoder" in run(registry, "list").stderr


def test_show_tells_of_a_version_and_its_history(registry: Registry) -> None:
    registry.register(fitted(2), model_card(fitted().info), {"flag_rate": 0.0125})
    text = run(registry, "show", MODEL, "draft").output
    assert "flag_rate   0.0125" in re.sub(r" {2,}", "   ", text)
    assert "2 released in place of 1 by ann, overruling no canary: no canary in this test" in text
    assert run(registry, "show", MODEL, "3", "--card").output.startswith("# statistical_baseline")
    assert "2 has no card" in run(registry, "show", MODEL, "--card").output
    found = document(run(registry, "show", MODEL, "--json"))
    assert (found["version"], found["scores"]) == ("2", "champion")
    assert found["history"][-1]["by"] == "ann"


def test_promotion_is_refused_until_there_is_a_reason(registry: Registry) -> None:
    registry.register(fitted(2))
    assert "The canary compares it" in run(registry, "promote", MODEL, "3").output
    refused = run(registry, "promote", MODEL, "3", "--to", "released")
    assert refused.exit_code == 1
    assert "no canary compared it with 2" in refused.stderr
    assert f"refrig models compare {MODEL} 2 3 --record" in refused.stderr
    done = run(registry, "promote", MODEL, "3", "--to", "released", "--overrule", "a test", "--by", "bea", "--json")
    assert document(done)["champion"] == "3"
    assert document(done)["overruled"] == ["no canary"]
    assert registry.history(MODEL)[-1].by == "bea"


def test_roll_back_pin_and_unpin(registry: Registry) -> None:
    back = run(registry, "rollback", MODEL, "--reason", "false alarms")
    assert "1 rolled back in place of 2" in back.output
    assert f"{MODEL} 1 scores from the next run on" in back.output
    registry.register(fitted(2))
    run(registry, "promote", MODEL, "3")
    held = run(registry, "promote", MODEL, "3", "--to", "released", "--overrule", "a test")
    assert "! 1 is pinned and scores on" in held.output
    loose = run(registry, "unpin", MODEL).output
    assert f"{MODEL} 1 unpinned by " in loose
    assert ", so that 3 scores\n" in loose
    assert f"{MODEL} 3 scores from the next run on" in loose
    assert f"{MODEL} 2 scores from the next run on" in run(registry, "pin", MODEL, "2").output
    assert "is shadow: there is nothing to take back" in run(registry, "withdraw", MODEL, "shadow").stderr


# -- compare -----------------------------------------------------------------------------------------------------


@cache
def trained(factor: float, path: str) -> Model:
    rows = model_rows(Lake(path), HOUR, HOUR + timedelta(hours=24))
    return StatisticalBaseline.fit(rows, Roles(FEATURES, device="device_id", time="window_start"),
                                   settings={"flag_rate": factor})  # fmt: skip


def test_compare_holds_two_versions_against_the_gates(registry: Registry, lake: Lake) -> None:
    nothing = run(registry, "compare", MODEL, "1", "2", "--lake", lake.uri)
    assert "has no features yet" in nothing.stderr
    write_windows(lake, windows(DEVICES, HOUR, 24, minutes=(15,)))
    write_registry(lake, registry_of(DEVICES))
    for flag_rate in (0.01, 0.01, 0.3):
        registry.register(trained(flag_rate, lake.uri))
    for version in ("3", "4", "5"):
        registry.promote(MODEL, version, by="ann", now=AT)
    registry.promote(MODEL, "3", "released", by="ann", now=AT, overrule="a test")
    same = run(registry, "compare", MODEL, "released", "4", "--lake", lake.uri, "--record")
    assert same.exit_code == 0, same.output
    assert "576 windows of 6 devices" in same.output
    assert "All gates pass" in same.output
    other = run(registry, "compare", MODEL, "3", "5", "--lake", lake.uri, "--record", "--json")
    assert other.exit_code == 1
    assert {g["name"]: g["outcome"] for g in document(other)["gates"]}["flag_rate_change"] == "block"
    refused = run(registry, "promote", MODEL, "5", "--to", "released")
    assert "the gate flag_rate_change says block (" in refused.stderr
    assert run(registry, "promote", MODEL, "4", "--to", "released").exit_code == 0
    late = run(registry, "compare", MODEL, "3", "4", "--lake", lake.uri, "--until", "2020-01-01")
    assert "there are no windows from 2019-12-31" in late.stderr
