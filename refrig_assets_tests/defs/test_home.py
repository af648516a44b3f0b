"""The Dagster home: what is in a new one, and that the plant's own settings stay."""

from pathlib import Path

import pytest

from refrig_assets.defs import home


def test_a_new_home_has_the_settings_wherever_it_is_made_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    home.prepare_home(tmp_path / "home")
    assert (tmp_path / "home" / "dagster.yaml").read_bytes() == home._OURS.read_bytes()
    monkeypatch.setattr(home, "_OURS", tmp_path / "none")
    home.prepare_home(tmp_path / "installed")
    assert "default_limit: 1" in (tmp_path / "installed" / "dagster.yaml").read_text()
    assert "No dagster instance configuration" not in caplog.text


def test_the_settings_of_a_home_stay_unless_they_are_renewed(tmp_path: Path) -> None:
    settings = tmp_path / "dagster.yaml"
    settings.write_text("telemetry:\n  enabled: false\n")
    home.prepare_home(tmp_path)
    assert settings.read_text() == "telemetry:\n  enabled: false\n"
    home.prepare_home(tmp_path, renew=True)
    assert settings.read_bytes() == home._OURS.read_bytes()
