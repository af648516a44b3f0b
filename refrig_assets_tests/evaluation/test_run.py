"""A small fleet through the whole of it: the real pipeline, a real lake and registry, both processes."""

import json
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from refrig_assets.cli import evaluate as cli
from refrig_assets.contracts import DEVICE_FEATURES, MAINTENANCE_EVENTS, MODEL_SCORES
from refrig_assets.contracts.scoring import DETECTORS
from refrig_assets.evaluation import follow
from refrig_assets.evaluation.document import BEGIN, END, put
from refrig_assets.evaluation.figures import BARS, Evaluation, evaluate, rules_evidence
from refrig_assets.evaluation.plan import EvaluationSpec, evaluation_plan
from refrig_assets.evaluation.report import bar_lines, document, markdown, page, plots, tables
from refrig_assets.evaluation.run import Run, repairs, run

SPEC = EvaluationSpec(devices=40, days=53 / 24, train_days=50 / 24, interval_s=300, gradual_share=0.5, acute_share=0.0)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Run:
    told: list[tuple[int, int]] = []
    found = run(SPEC, tmp_path_factory.mktemp("evaluation"), lambda number, of: told.append((number, of)))
    assert told == [(n, 53) for n in range(1, 54)]
    return found


@pytest.fixture(scope="module")
def judged(done: Run) -> Evaluation:
    return evaluate(done.lake, done.truth, SPEC.scored_from, SPEC.end)


def test_every_model_scored_the_hours_after_training_and_none_before(done: Run) -> None:
    scores = done.lake.table(MODEL_SCORES).read(SPEC.start, SPEC.end)
    assert set(scores["model_id"]) == {*DETECTORS, "threshold_baseline"}
    assert scores["window_start"].min() == SPEC.scored_from
    assert scores["window_end"].max() == SPEC.end
    known = done.lake.table(DEVICE_FEATURES).read(SPEC.scored_from, SPEC.end)
    assert scores["device_id"].n_unique() >= known["device_id"].n_unique() - 2
    assert scores["scored_at"].min() > SPEC.scored_from


def test_the_figures_have_their_stable_names_and_the_document_is_json(judged: Evaluation, done: Run) -> None:
    told = json.loads(json.dumps(document(judged, {"cores": 2}, done.seconds)))
    assert {"machine", "runs", "figures", "bars"} <= set(told)
    assert set(told["bars"]) == set(BARS) <= set(told["figures"])
    for bar in told["bars"].values():
        assert set(bar) == {"value", "bar", "holds"}
    assert [name for name, *_ in bar_lines(judged)] == list(BARS)
    assert all(markdown(table).startswith("| ") for table in tables(judged).values())


def test_plots_are_drawn(done: Run, judged: Evaluation, tmp_path: Path) -> None:
    drawn = plots(judged, tmp_path / "images")
    assert len(drawn) == 5
    assert all(path.stat().st_size > 5000 for path in drawn)
    assert all(f"]({path.name})" in page(judged, done.says) for path in drawn)


def test_the_command_prints_one_json_object_last_and_keeps_what_it_made(
    done: Run, judged: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "_measure", lambda _spec, _home: (done, judged))
    kept = tmp_path / "kept"
    said = CliRunner().invoke(cli.evaluate, ["--quick", "--json", "--keep", str(kept)], catch_exceptions=False)
    assert set(json.loads(said.stdout.splitlines()[-1])["bars"]) == set(BARS)
    assert {"report.md", "truth.parquet", "faults.parquet"} <= {path.name for path in kept.iterdir()}
    shown = CliRunner().invoke(cli.evaluate, ["--quick"], catch_exceptions=False)
    assert "found_12h" in shown.stdout
    again = CliRunner().invoke(cli.evaluate, ["--quick", "--keep", str(kept)])
    assert again.exit_code == 2
    assert "is not empty" in again.output

    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "detection.md").write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    written = put(kept, docs / "detection.md")
    text = (docs / "detection.md").read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "\nold\n" not in text
    assert all(path.exists() for path in written)
    assert "](images/detection-found.png)" in text


def test_rules_are_evidence_around_zero(done: Run) -> None:
    evidence = rules_evidence(done.lake, SPEC.scored_from, SPEC.end)
    windows = done.lake.table(DEVICE_FEATURES).read(SPEC.scored_from, SPEC.end)
    broken = windows.filter(
        (pl.col("window_duration_minutes") == 15)
        & (
            (pl.col("temp_evaporator_mean") > 0)
            | (pl.col("vibration_compressor_max") > 20)
            | (pl.col("pressure_low_mean") < 100)
            | (pl.col("current_compressor_max") > 35)
        ).fill_null(value=False)
    )
    assert evidence.filter(pl.col("value") > 0).height == broken.height


def test_hours_out_of_order_are_refused(done: Run) -> None:
    follower = follow.Follower(done.home, SPEC)
    with pytest.raises(ValueError, match="hours come in order"):
        follower.hour_done(SPEC.start + timedelta(hours=5))


def test_what_fails_in_the_other_process_fails_the_run(tmp_path: Path) -> None:
    short = EvaluationSpec(devices=20, days=2 / 24, train_days=1 / 24, interval_s=300)
    with pytest.raises(Exception, match="training needs at least"):
        run(short, tmp_path)


def test_the_maintenance_system_knows_repairs_that_were_done_by_then() -> None:
    spec = EvaluationSpec(devices=400)
    truth = evaluation_plan(spec.fleet(), spec).truth
    events = repairs(truth, spec.scored_from)
    MAINTENANCE_EVENTS.validate(events)
    assert 0 < events.height < truth.height
    assert (events["completed_date"] < spec.scored_from).all()
    assert set(events["device_id"]) <= set(truth.filter("is_machine_fault")["device_id"])
