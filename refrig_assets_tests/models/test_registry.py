"""The registry: versions from draft to released and back, who scores with which, and what happens when things break."""

import json
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from refrig_assets.models import Model
from refrig_assets.models.artifacts import INFO_FILE, ArtifactError
from refrig_assets.models.canary import CanaryReport, Gate
from refrig_assets.models.card import model_card
from refrig_assets.models.registry import PromotionRefusedError, Registry, RegistryUnavailableError, UnknownVersionError
from refrig_assets.models.serving import RoutesError, Served
from refrig_assets_tests.models.registry_tools import AT, MODEL, fitted, registry_at, release, rows

ANN = "ann"


@pytest.fixture
def registry(tmp_path: Path, request: pytest.FixtureRequest) -> Registry:
    """Empty, or with as many released versions as `holding` asks for."""
    return registry_at(tmp_path / "models", *range(getattr(request, "param", 0)))


def holding(count: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("registry", [count], indirect=True, ids=[""])


def canary(old: str, new: str, **outcomes: str) -> CanaryReport:
    names = ("mean_difference", "flag_rate_change", "top_devices_overlap", "score_divergence")
    gates = tuple(Gate(n, 0.5, 0.1, outcomes.get(n, "pass"), "it says so") for n in names)  # type: ignore[arg-type]
    return CanaryReport(MODEL, old, new, 100, 10, 0, 0, gates)


def serves(registry: Registry) -> list[tuple[str, str]]:
    return [(s.version, s.role) for s in registry.serving(MODEL)]


# -- versions ----------------------------------------------------------------------------------------------------


def test_a_registered_model_comes_back_as_it_was(registry: Registry) -> None:
    card = model_card(fitted().info, held_out=fitted().score(rows(1))["anomaly_score"].to_numpy())
    version = registry.register(fitted(), card, {"flag_rate": 0.01}, {"seed": 7}, {"features_version": "41"})
    model, found = registry.load(MODEL, "draft")
    assert model.score(rows(2)).equals(fitted().score(rows(2)))
    assert (found.version, found.stage, found.aliases) == (version, "draft", ("draft",)) == ("1", "draft", ("draft",))
    assert found.tags["features_version"] == "41"
    assert registry.card(MODEL, "1") == card.files()
    metrics, params = registry.figures(MODEL, "v1")
    assert metrics == {"flag_rate": 0.01}
    assert params["seed"] == "7"
    assert registry.models() == [MODEL]
    assert registry.serving(MODEL) == []  # a draft scores nothing


def test_a_registry_can_be_moved_as_a_directory(registry: Registry, tmp_path: Path) -> None:
    registry.register(fitted(), model_card(fitted().info))
    (tmp_path / "models").rename(tmp_path / "elsewhere")
    moved = Registry(str(tmp_path / "elsewhere"))
    assert moved.load(MODEL, "1")[0].info == fitted().info
    assert moved.register(fitted(1)) == "2"
    assert moved.load(MODEL, "2")[0].info == fitted(1).info


def test_what_is_not_there_is_named(registry: Registry) -> None:
    with pytest.raises(UnknownVersionError, match=r"no version of 'statistical_baseline'; models there: none"):
        registry.load(MODEL, "1")
    release(registry, 0)
    for wrong in ("7", "vx", "stagging"):
        with pytest.raises(UnknownVersionError, match=f"no version '{wrong}'. It has 1; by name released = 1"):
            registry.load(MODEL, wrong)


def test_a_tampered_version_is_refused(registry: Registry, tmp_path: Path) -> None:
    registry.register(fitted())
    registry.register(fitted(1))
    one, two = (tmp_path / "models" / "artifacts" / registry.get(MODEL, v).run_id / "artifacts" / "model" for v in "12")
    one.rename(tmp_path / "one")
    two.rename(one)  # whole and sound, and not what was registered as this version
    with pytest.raises(ArtifactError, match="not what was registered"):
        registry.load(MODEL, "1")
    with pytest.raises(ArtifactError, match=f"{INFO_FILE} is missing"):
        registry.promote(MODEL, "2", by=ANN, now=AT)


def test_a_version_that_somebody_else_registered_is_refused(registry: Registry) -> None:
    registry.register(fitted())
    client = MlflowClient(tracking_uri=registry.uri, registry_uri=registry.uri)
    client.create_model_version(MODEL, source="/tmp/anything.pkl")
    with pytest.raises(ArtifactError, match="not registered by this product"):
        registry.load(MODEL, "2")
    client.set_model_version_tag(MODEL, "2", "refrig.digest", "0" * 64)
    with pytest.raises(UnknownVersionError, match="not one of ours"):
        registry.load(MODEL, "2")


# -- promotion ---------------------------------------------------------------------------------------------------


def test_from_draft_to_released(registry: Registry) -> None:
    registry.register(fitted())
    with pytest.raises(PromotionRefusedError, match="is a draft: bring it to staging first"):
        registry.promote(MODEL, "1", "released", by=ANN, now=AT)
    registry.promote(MODEL, "1", by=ANN, now=AT)
    assert registry.get(MODEL, "staging").aliases == ("staging",)
    registry.promote(MODEL, "1", "released", by=ANN, now=AT)  # the first has nothing to be compared with
    assert registry.get(MODEL, "1").aliases == ("released",)
    assert serves(registry) == [("1", "champion")]
    with pytest.raises(PromotionRefusedError, match="released already"):
        registry.promote(MODEL, "1", "staging", by=ANN, now=AT)


@holding(1)
def test_the_failed_gate_is_named_and_can_be_overruled(registry: Registry) -> None:
    registry.register(fitted(1))
    registry.promote(MODEL, "2", by=ANN, now=AT)
    with pytest.raises(PromotionRefusedError, match="no canary compared it with 1, which scores now"):
        registry.promote(MODEL, "2", "released", by=ANN, now=AT)
    registry.record_canary(canary("1", "2", flag_rate_change="block", top_devices_overlap="review"))
    for reason in (None, "  "):
        with pytest.raises(PromotionRefusedError) as refused:
            registry.promote(MODEL, "2", "released", by=ANN, now=AT, overrule=reason)
    assert "the gate flag_rate_change says block (it says so); the gate top_devices_overlap says review" in str(
        refused.value
    )
    assert serves(registry) == [("1", "champion")]
    done = registry.promote(MODEL, "2", "released", by="bea", now=AT, overrule="a new sensor, checked by hand")
    assert done.overruled == ("flag_rate_change", "top_devices_overlap")
    assert serves(registry) == [("2", "champion")]
    assert registry.get(MODEL, "1").stage == "retired"
    last = registry.history(MODEL)[-1]
    assert last == done
    assert last.says == (
        "statistical_baseline 2 released in place of 1 by bea, overruling flag_rate_change, top_devices_overlap: "
        "a new sensor, checked by hand"
    )
    assert (last.at, last.canary["flag_rate_change"]) == (AT, 0.5)


@holding(2)
def test_a_canary_counts_for_the_versions_it_compared(registry: Registry) -> None:
    registry.register(fitted(2))
    registry.promote(MODEL, "3", by=ANN, now=AT)
    for old, new in (("1", "3"), ("2", "2")):
        with pytest.raises(PromotionRefusedError, match=f"compared statistical_baseline {new} with {old}, and 2 sco"):
            registry.promote(MODEL, "3", "released", by=ANN, now=AT, gates=canary(old, new))
    registry.record_canary(canary("2", "3"))
    change = registry.promote(MODEL, "3", "released", by=ANN, now=AT)
    assert (change.overruled, change.reason) == ((), None)


@holding(1)
def test_roles_beside_the_champion(registry: Registry) -> None:
    registry.register(fitted(1))
    registry.register(fitted(2))
    registry.promote(MODEL, "2", "challenger", by=ANN, now=AT)
    registry.promote(MODEL, "3", "shadow", by=ANN, now=AT)
    assert registry.serving(MODEL) == [Served("1", "champion"), Served("2", "challenger"), Served("3", "shadow")]
    registry.withdraw(MODEL, "shadow", by=ANN, now=AT)
    with pytest.raises(UnknownVersionError, match="is shadow: there is nothing to take back"):
        registry.withdraw(MODEL, "shadow", by=ANN, now=AT)
    registry.promote(MODEL, "2", by=ANN, now=AT)
    registry.promote(MODEL, "2", "released", by=ANN, now=AT, gates=canary("1", "2"))
    assert serves(registry) == [("2", "champion")]  # no version scores twice


# -- pin and roll back -------------------------------------------------------------------------------------------


@holding(3)
def test_rollback_pins_what_scored_before(registry: Registry) -> None:
    assert registry.rollback(MODEL, by=ANN, now=AT, reason="false alarms").replaced == "3"
    assert serves(registry) == [("2", "champion")]
    registry.rollback(MODEL, by=ANN, now=AT)  # and not forward to the bad one
    assert serves(registry) == [("1", "champion")]
    with pytest.raises(UnknownVersionError, match="1 is the first that was released: there is nothing to go back to"):
        registry.rollback(MODEL, by=ANN, now=AT)
    registry.unpin(MODEL, by=ANN, now=AT)
    assert serves(registry) == [("3", "champion")]
    assert [c.what for c in registry.history(MODEL)[-3:]] == ["rolled back", "rolled back", "unpinned"]


@holding(2)
def test_a_new_release_does_not_unpin(registry: Registry) -> None:
    registry.rollback(MODEL, by=ANN, now=AT)
    release(registry, 2)
    plan = registry.plan(MODEL)
    assert (plan.champion, plan.pinned) == ("1", True)


def test_pinning_what_was_never_released_takes_a_reason(registry: Registry) -> None:
    with pytest.raises(UnknownVersionError, match="nothing to go back from"):
        registry.rollback(MODEL, by=ANN, now=AT)
    registry.register(fitted())
    with pytest.raises(PromotionRefusedError, match="never released, so no canary stands behind it"):
        registry.pin(MODEL, "1", by=ANN, now=AT, reason="I like it")
    assert registry.pin(MODEL, "1", by=ANN, now=AT, overrule="plant trial").overruled == ("never released",)
    assert serves(registry) == [("1", "champion")]
    with pytest.raises(PromotionRefusedError, match="no version is released, so nothing would score"):
        registry.unpin(MODEL, by=ANN, now=AT)
    assert serves(registry) == [("1", "champion")]


@holding(2)
def test_rollback_does_not_pin_what_cannot_be_loaded(registry: Registry, tmp_path: Path) -> None:
    run_id = registry.get(MODEL, "1").run_id
    (tmp_path / "models" / "artifacts" / run_id / "artifacts" / "model" / INFO_FILE).write_bytes(b"{}")
    with pytest.raises(ArtifactError, match="not what was registered"):
        registry.rollback(MODEL, by=ANN, now=AT)
    assert serves(registry) == [("2", "champion")]


class Killed(BaseException):
    """As good as kill -9: nothing after it is done, nothing catches it."""


WRITES = ("set_model_version_tag", "set_registered_model_alias", "delete_registered_model_alias")
CHANGES: dict[str, Callable[[Registry], object]] = {
    "promote": lambda r: r.promote(MODEL, "3", "released", by=ANN, now=AT, gates=canary("2", "3")),
    "rollback": lambda r: r.rollback(MODEL, by=ANN, now=AT),
    "pin": lambda r: r.pin(MODEL, "1", by=ANN, now=AT),
    "unpin": lambda r: r.unpin(MODEL, by=ANN, now=AT),
}


@holding(2)
@pytest.mark.parametrize("what", list(CHANGES))
def test_killed_between_any_two_writes_a_version_scores(
    what: str, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each change is stopped after its first write, its second, ...; the next attempt goes on from there."""
    registry.register(fitted(2))
    registry.promote(MODEL, "3", by=ANN, now=AT)
    if what == "unpin":
        registry.pin(MODEL, "1", by=ANN, now=AT)
    before = serves(registry)
    seen = []
    for allowed in range(12):
        left = [allowed]
        with monkeypatch.context() as patched:
            for name in WRITES:
                patched.setattr(MlflowClient, name, _counted(getattr(MlflowClient, name), left))
            try:
                CHANGES[what](registry)
            except Killed:
                pass
            else:
                break
        seen.append(serves(registry))
        assert registry.load(MODEL, seen[-1][0][0])
        if seen[-1] != before:
            break  # the change took hold: from here on it is another change
    after = {"promote": "3", "rollback": "1", "pin": "1", "unpin": "2"}[what]
    assert seen[0] == before
    assert serves(registry) == [(after, "champion")]
    assert registry.history(MODEL)[-1].done
    assert next(c.says for c in registry.history(MODEL) if not c.done).endswith("(not carried out)")


def _counted(write: Callable[..., object], left: list[int]) -> Callable[..., object]:
    def counted(*arguments: object, **named: object) -> object:
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        return write(*arguments, **named)

    return counted


@holding(1)
def test_killed_while_registering_there_is_no_version(registry: Registry, tmp_path: Path) -> None:
    code = (
        "import os, signal\nfrom refrig_assets.models import artifacts\n"
        "from refrig_assets.models.registry import Registry\n"
        "from refrig_assets_tests.models.registry_tools import fitted\n"
        "artifacts.Path.rename = lambda *a: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"Registry({str(tmp_path / 'models')!r}).register(fitted(1))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL
    assert [v.version for v in registry.versions(MODEL)] == ["1"]
    assert serves(registry) == [("1", "champion")]
    assert registry.register(fitted(1)) == "2"
    assert registry.load(MODEL, "2")


# -- routes ------------------------------------------------------------------------------------------------------


@holding(3)
def test_a_cohort_or_region_gets_its_own_version(registry: Registry) -> None:
    registry.routes_file.write_text(
        '[[route]]\nmodel = "statistical_baseline"\ncohort = "c-7"\nversion = 1\n'
        '[[route]]\nmodel = "statistical_baseline"\nregion = "north"\nversion = "v2"\n'
        '[[route]]\nmodel = "isolation_forest"\nregion = "north"\nversion = "9"\n'
    )
    registry.register(fitted(3))
    registry.promote(MODEL, "4", "challenger", by=ANN, now=AT)
    plan = registry.plan(MODEL)
    assert plan.of(cohort="c-1", region="south")[0] == Served("3", "champion")
    assert plan.of(cohort="c-1", region="north") == [Served("2", "champion"), Served("4", "challenger")]
    assert registry.serving(MODEL, cohort="c-7", region="north")[0] == Served("1", "champion")
    assert plan.versions == ["3", "4", "1", "2"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[[route]]\nmodel = "oracle"\ncohort = "a"\nversion = 1', "route 1: there is no model 'oracle'; known are "),
        ('[[route]]\nmodel = "autoencoder"\nversion = 1', "route 1: name either a cohort or a region"),
        ('[[route]]\nmodel = "autoencoder"\ncohort = "a"\nregion = "b"\nversion = 1', "a region, and not both"),
        ('[[route]]\nmodel = "autoencoder"\ncohort = "a"', "route 1: version is missing"),
        ('[[route]]\nmodel = "autoencoder"\ncohort = "a"\nversion = 1.5', "version must be a number or an alias"),
        ('[[route]]\nmodel = "autoencoder"\ncohort = 3\nversion = 1', "cohort must be a text in quotes, not 3"),
        ('[[route]]\nmodel = "autoencoder"\ncohrt = "a"\nversion = 1', "'cohrt' is none of cohort, model"),
        ('[route]\nmodel = "autoencoder"', "rather than \\[route\\]"),
        ('[[routes]]\nmodel = "autoencoder"', "'routes' is not known there"),
        ("route = [1]", "1 is not a table"),
        ("[[route", "is not TOML"),
        (2 * '[[route]]\nmodel = "autoencoder"\ncohort = "a"\nversion = 1\n', "route 2: cohort a has a version"),
        ('[[route]]\nmodel = "statistical_baseline"\nregion = "a"\nversion = 9', "route of region a: .*version '9'"),
    ],
)  # fmt: skip
@holding(1)
def test_wrong_routes_are_named(registry: Registry, text: str, says: str) -> None:
    registry.routes_file.write_text(text)
    with pytest.raises(RoutesError, match=says) as refused:
        registry.plan(MODEL)
    assert str(registry.routes_file) in str(refused.value)
    assert registry.plan(MODEL, routed=False).champion == "1"


def test_places_come_from_the_environment(tmp_path: Path) -> None:
    found = Registry.from_environment({"REFRIG_MODELS": str(tmp_path), "REFRIG_MODEL_ROUTES": "/etc/routes.toml"})
    assert found.uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert found.routes_file == Path("/etc/routes.toml")
    assert Registry.from_environment({}).routes_file == Path.cwd() / "data/models/routes.toml"


# -- when things break -------------------------------------------------------------------------------------------


def test_a_missing_registry_is_named_and_not_made_by_reading(tmp_path: Path) -> None:
    registry = Registry(f"sqlite:///{tmp_path}/none/mlflow.db")
    for read in (lambda: registry.plan(MODEL), lambda: registry.load(MODEL, "released"), registry.models):
        with pytest.raises(
            RegistryUnavailableError, match=r"no model registry at sqlite:.*none/mlflow\.db\. Train mod"
        ):
            read()
    assert not (tmp_path / "none").exists()


@holding(2)
def test_a_read_only_registry_scores_and_says_what_to_do(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # MLflow takes the URI for a path, and makes its folder
    reading = Registry(f"sqlite:///file:{tmp_path}/models/mlflow.db?mode=ro&uri=true")
    assert serves(reading) == [("2", "champion")]
    assert reading.load(MODEL, "released")[0].info == fitted(1).info
    for write in (lambda: reading.register(fitted()), lambda: reading.rollback(MODEL, by=ANN, now=AT)):
        with pytest.raises(RegistryUnavailableError, match=r"mode=ro.*readonly.*can be read but not changed"):
            write()
    assert serves(registry) == [("2", "champion")]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RegistryUnavailableError, match=r"file.*Check the path"):
        Registry(f"sqlite:///{tmp_path}/file/mlflow.db").register(fitted())


def test_a_broken_database_is_named(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "mlflow.db").write_bytes(b"not a database" * 100)
    with pytest.raises(
        RegistryUnavailableError, match=r"broken/mlflow\.db does not answer as it should.*not a database"
    ):
        Registry(str(tmp_path / "broken")).plan(MODEL)


def test_a_server_that_is_down_is_named() -> None:
    with pytest.raises(RegistryUnavailableError, match=r"http://127\.0\.0\.1:9 .*See that the server runs"):
        Registry("http://127.0.0.1:9").plan(MODEL)


def test_an_older_database_tells_how_to_upgrade_it(registry: Registry, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "models" / "mlflow.db") as database:
        database.execute("update alembic_version set version_num = '0584bdc529eb'")
    with pytest.raises(RegistryUnavailableError, match="mlflow db upgrade"):
        registry.plan(MODEL)


def told(model: Model) -> str:
    return json.dumps(model.info.to_dict(), sort_keys=True)


def _register(path: str, seed: int) -> None:
    Registry(path).register(fitted(seed))


def test_two_registrations_at_once_in_a_fresh_registry_both_survive(tmp_path: Path) -> None:
    processes = multiprocessing.get_context("spawn")
    both = [processes.Process(target=_register, args=(str(tmp_path / "fresh"), seed)) for seed in (0, 1)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert [one.exitcode for one in both] == [0, 0]
    registry = Registry(str(tmp_path / "fresh"))
    models = [registry.load(MODEL, v.version)[0] for v in registry.versions(MODEL)]
    assert len(models) == 2
    assert {told(m) for m in models} == {told(fitted(0)), told(fitted(1))}
    assert not [p for p in os.listdir(tmp_path / "fresh") if "incomplete" in p]


def test_reports_and_versions_are_plain_values(registry: Registry) -> None:
    registry.register(fitted())
    report = replace(canary("1", "1"), rows_only_old=3)
    registry.record_canary(report)
    assert registry.get(MODEL, "1").canary == report


def test_mlflow_is_imported_late_and_tells_nobody(registry: Registry) -> None:
    code = (
        "import sys\nfrom refrig_assets.models.registry import Registry\n"
        "assert not {'mlflow', 'torch', 'sqlalchemy'} & set(sys.modules), 'heavy'\n"
        f"Registry({registry.uri!r}).plan({MODEL!r})\n"
        "from mlflow.telemetry import get_telemetry_client\nassert get_telemetry_client() is None"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "DO_NOT_TRACK", "CI"))}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://ann:s3cret@127.0.0.1:9", "http://ann:***@127.0.0.1:9"),
        ("http://:s3@cret@127.0.0.1:9", "http://:***@127.0.0.1:9"),
        ("http://127.0.0.1:9", "http://127.0.0.1:9"),
    ],
)
def test_a_password_in_the_address_is_told_to_nobody(uri: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    registry = Registry(uri)
    assert (registry.uri, registry.shown) == (uri, shown)
    with pytest.raises(RegistryUnavailableError) as told:
        registry.aliases("isolation_forest")
    assert shown in str(told.value)
    assert "cret" not in str(told.value)
