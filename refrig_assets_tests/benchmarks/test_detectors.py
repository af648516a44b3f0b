"""The detectors' benchmark: figures with known answers, what a file may hold, no look-ahead, detectors on plants."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks.detectors import main, run_constant, run_detector
from benchmarks.detectors_data import DataError, LabelledSet, read_labelled, rolling, trailing
from benchmarks.detectors_metrics import Verdict, events, figures, roc_auc
from refrig_assets.models import MODELS
from refrig_assets_tests.benchmarks.labelled_sets import bearing, chiller, odd_channels, pump_rig

GOOD = "label,group,split,a,b\n0,m,train,1,2\n0,m,train,2,1\n0,m,test,1,2\n1,m,test,9,9\n"
START = datetime(2026, 1, 1, tzinfo=UTC)
FAST = "statistical_baseline"


def verdict(labels: str, alarms: str, scores: list[float] | None = None, group: str = "m", step_s: int = 0) -> Verdict:
    flags = np.array([a == "1" for a in alarms])
    times = [START + timedelta(seconds=step_s * n) for n in range(len(labels))] if step_s else None
    return Verdict(
        group, np.array([a == "1" for a in labels]), flags, np.array(scores or flags, dtype=np.float64), times
    )


def write(tmp_path: Path, text: str | pl.DataFrame, name: str = "plant.csv") -> Path:
    path = tmp_path / name
    if isinstance(text, pl.DataFrame):
        text.write_csv(path)
    else:
        path.write_text(text)
    return path


def read(tmp_path: Path, frame: pl.DataFrame, context: tuple[str, ...] = (), pooled: bool = False) -> LabelledSet:
    return read_labelled(write(tmp_path, frame), context=context, pooled=pooled)


# --- figures


def test_figures_of_a_case_counted_by_hand() -> None:
    # Events at rows 2-4 (first alarm 1 row late), 7-8 (missed); alarms at 0 (false), 3, 4, 6 (false, just before).
    found = figures([verdict("0011100110", "1001101000", step_s=10)])
    assert found["f1"] == pytest.approx(2 * 2 / (2 * 2 + 2 + 3))
    assert found["false_alarm_rate"] == pytest.approx(2 / 5)
    assert found["missed_alarm_rate"] == pytest.approx(3 / 5)
    assert found["event_recall"] == pytest.approx(1 / 2)
    assert (found["delay_rows"], found["delay_s"]) == (1.0, 10.0)


def test_rows_count_alike_over_groups_and_groups_count_alike_in_the_macro_mean() -> None:
    long, short = verdict("0" * 8 + "11", "0" * 8 + "11"), verdict("01", "10", group="n")
    found = figures([long, short])
    assert found["f1"] == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    assert found["f1_macro"] == pytest.approx((1 + 0) / 2)
    assert found["false_alarm_rate"] == pytest.approx(1 / 9)
    assert found["false_alarm_rate_macro"] == pytest.approx((0 + 1) / 2)


def test_an_alarm_in_an_event_does_not_count_for_its_other_rows() -> None:
    """Point adjustment would give 1.0 here."""
    assert figures([verdict("0111111110", "0000000010")])["f1"] == pytest.approx(2 / (2 + 7))


def test_events_end_at_a_group_s_end() -> None:
    assert events(verdict("1101", "0000").labels) == [(0, 2), (3, 4)]
    found = figures([verdict("011", "001"), verdict("110", "000", group="n")])
    assert found["event_recall"] == pytest.approx(1 / 2)


def test_an_alarm_still_on_when_an_event_starts_finds_it_at_once() -> None:
    assert figures([verdict("0011", "0110")])["delay_rows"] == 0.0


@pytest.mark.parametrize(
    ("labels", "scores", "area"),
    [
        ("0011", [0.1, 0.2, 0.3, 0.4], 1.0),
        ("0011", [0.4, 0.3, 0.2, 0.1], 0.0),
        ("0101", [0.5, 0.5, 0.5, 0.5], 0.5),
        ("0101", [0.1, 0.3, 0.3, 0.4], (1 + 0.5 + 1 + 1) / 4),
        ("0000", [0.1, 0.2, 0.3, 0.4], None),
    ],
)
def test_roc_auc(labels: str, scores: list[float], area: float | None) -> None:
    assert roc_auc(verdict(labels, "0000").labels, np.array(scores)) == (area if area is None else pytest.approx(area))


def test_what_cannot_be_told_is_none_and_always_and_never_alarm_are_as_known(tmp_path: Path) -> None:
    healthy = figures([verdict("0000", "0100")])
    assert (healthy["f1"], healthy["missed_alarm_rate"], healthy["event_recall"]) == (None, None, None)
    data = read(tmp_path, odd_channels(1))
    always, never = (figures(run_constant(data, alarm).verdicts) for alarm in (True, False))
    share = 250 / 1200
    assert always["f1"] == pytest.approx(2 * share / (1 + share))
    assert (always["false_alarm_rate"], always["event_recall"], always["roc_auc"]) == (1.0, 1.0, 0.5)
    assert (never["f1"], never["missed_alarm_rate"], never["roc_auc"]) == (0.0, 1.0, 0.5)


# --- what a file may hold


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("group,split,a\nm,train,1\n", "no column 'label'"),
        ("label,split,a\n0,train,1\n", "no column 'group'"),
        ("label,group,a\n0,m,1\n", "no column 'split'"),
        (GOOD.replace("1,m,test", "2,m,test"), "column 'label', line 5: '2', must be 0 or 1"),
        (GOOD.replace("1,m,test", ",m,test"), "column 'label', line 5: no value"),
        (GOOD.replace("1,m,test", "1,,test"), "column 'group', line 5: no value"),
        (GOOD.replace("1,m,test", "1,m,valid"), "column 'split', line 5: 'valid', must be train or test"),
        (GOOD.replace("test", "train"), "no row says test"),
        (GOOD.replace("train", "test"), "no row says train"),
        (GOOD.replace("1,m,test", "1,n,test"), "group 'n' has test rows but no train rows"),
        (GOOD.replace("2,1", "2,off"), "column 'b', line 3: 'off' is no number"),
        ("label,group,split,a\n0,m,train,x\n0,m,test,y\n", "no numeric column"),
        ("label,group,split,a,a\n0,m,train,1,1\n", "column 'a' is there twice"),
        ("label,group,split,a\n", "no rows"),
        ("", "is no CSV file"),
        ("label,group,split,time,a\n0,m,train,soon,1\n0,m,test,later,1\n", "column 'time': 'soon' is neither"),
        ("label,group,split,time,a\n0,m,train,1,1\n0,m,test,,1\n", "column 'time', line 3"),
    ],
)
def test_an_error_names_what_is_wrong_and_where(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(DataError, match=told):
        read_labelled(write(tmp_path, text))


def test_unknown_context_and_columns_to_ignore_are_named_with_those_there_are(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    with pytest.raises(DataError, match=r"--context names 'load', which is no column; columns: a, b"):
        read_labelled(path, context=["load"])
    with pytest.raises(DataError, match="--ignore names 'c'"):
        read_labelled(path, ignore=["c"])
    with pytest.raises(DataError, match="'label' can't be left out"):
        read_labelled(path, ignore=["label"])
    with pytest.raises(DataError, match="can't be read"):
        read_labelled(tmp_path / "none.csv")


def test_columns_are_taken_as_they_come(tmp_path: Path) -> None:
    """Semicolons, text, truth values, missing and infinite values, capitals, words of a historian."""
    text = (
        "Label;x;label;group;split;on;note;status\n"
        "a;1.5;0;7;Train;true;started;1\nb;NaN;0;7;TRAIN;false;;Bad\nc;inf;1.0;7;test;True;oh;3\nd;2;False;7;test;False;;4\n"
    )
    data = read_labelled(write(tmp_path, text), missing=["Bad"])
    assert data.channels == ("x", "on", "status")
    assert data.rows["x"].to_list() == [1.5, None, None, 2.0]
    assert data.rows["on"].to_list() == [1.0, 0.0, 1.0, 0.0]
    assert data.rows["label"].to_list() == [0, 0, 1, 0]
    assert data.rows["group"].to_list() == ["7"] * 4
    assert any("'note' holds text" in note for note in data.notes)


@pytest.mark.parametrize(
    "times",
    [
        ["2026-01-01T00:00:02", "2026-01-01T00:00:00", "2026-01-01T00:00:01"],
        ["2026-01-01 00:00:02", "2026-01-01 00:00:00", "2026-01-01 00:00:01"],
        ["2026-01-01 00:00:02.5", "2026-01-01 00:00:00.5", "2026-01-01 00:00:01.5"],
        ["2026-01-01T01:00:02+01:00", "2026-01-01T00:00:00+00:00", "2026-01-01T00:00:01+00:00"],
        ["2026-01-01T00:00:02Z", "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"],
        ["2", "0", "1"],
        ["1767225602.0", "1767225600.0", "1767225601.0"],
    ],
)
def test_time_orders_the_rows_of_a_group(tmp_path: Path, times: list[str]) -> None:
    rows = "".join(f"0,m,train,{t},{n}\n" for n, t in enumerate(times))
    data = read_labelled(write(tmp_path, f"label,group,split,time,a\n{rows}0,m,test,{times[0]},9\n"))
    assert data.part("train")["a"].to_list() == [1.0, 2.0, 0.0]
    assert data.rows["time"].diff()[1].total_seconds() == 1.0


# --- rolling windows


def test_windows_look_back_only_and_stay_within_group_and_split(tmp_path: Path) -> None:
    rows = pl.DataFrame(
        {
            "label": 0,
            "group": ["m"] * 8 + ["n"] * 8,
            "split": (["train"] * 4 + ["test"] * 4) * 2,
            "a": [float(n**2) for n in range(16)],
            "load": [float(n) for n in range(16)],
        }
    )
    data = rolling(read(tmp_path, rows, ("load",)), 3)
    assert data.channels == ("a_mean", "a_std", "a_slope")
    part = data.part("test", "n")
    assert part["load"].to_list() == [12.0, 12.5, 13.0, 14.0]
    assert part["a_mean"][:2].to_list() == [144.0, (144 + 169) / 2]
    assert part["a_std"].null_count() == part["a_slope"].null_count() == 2
    assert part["a_slope"][3] == pytest.approx((225 - 169) / 2)
    assert part["a_std"][3] == pytest.approx(np.std([169, 196, 225], ddof=1))


def test_trailing_figures_are_as_numpy_s_with_gaps_and_at_large_levels() -> None:
    rng = np.random.default_rng(5)
    values = 1e9 + rng.normal(size=400)
    values[rng.random(400) < 0.3] = np.nan
    mean, deviation, slope = trailing(values, 20, 5)
    for row in (30, 200, 399):
        window = values[row - 19 : row + 1]
        there = ~np.isnan(window)
        assert mean[row] == pytest.approx(window[there].mean(), rel=1e-15)
        assert deviation[row] == pytest.approx(window[there].std(ddof=1), rel=1e-6)
        assert slope[row] == pytest.approx(np.polyfit(np.flatnonzero(there), window[there] - 1e9, 1)[0], abs=1e-6)


# --- the detectors


@pytest.mark.parametrize("name", list(MODELS))
def test_labels_are_never_used_and_no_row_is_judged_by_later_ones(tmp_path: Path, name: str) -> None:
    rows = pump_rig(1, 3, rows=500, train=150)
    cut = rows.with_columns(label=1 - pl.col("label")).head(400)
    whole, part = (
        run_detector(name, rolling(read(tmp_path, frame), 10), pooled=False).verdicts[0] for frame in (rows, cut)
    )
    assert (whole.scores[: len(part.scores)] == part.scores).all()
    assert (whole.alarms[: len(part.alarms)] == part.alarms).all()
    assert (whole.labels[: len(part.labels)] != part.labels).all()


def test_each_group_has_its_own_model_unless_pooled(tmp_path: Path) -> None:
    rows = pump_rig(2, 5, rows=600, train=300)
    both, alone = read(tmp_path, rows), read(tmp_path, rows.filter(pl.col("group") == "run-1"))
    own = run_detector(FAST, both, pooled=False).verdicts[1]
    assert (own.scores == run_detector(FAST, alone, pooled=False).verdicts[0].scores).all()
    pooled = run_detector(FAST, both, pooled=True).verdicts
    assert [v.group for v in pooled] == ["run-0", "run-1"]
    assert (pooled[1].scores != own.scores).any()


def test_pooled_judges_groups_it_never_saw_under_their_conditions(tmp_path: Path) -> None:
    data = read(tmp_path, chiller(2), ("load", "entering", "leaving"), pooled=True)
    blind = read(tmp_path, chiller(2).drop("load", "entering", "leaving"), pooled=True)
    told, untold = (figures(run_detector(FAST, d, pooled=True).verdicts)["roc_auc"] for d in (data, blind))
    assert told is not None
    assert untold is not None
    assert told > max(untold, 0.8)


def test_a_failing_bearing_is_found_at_changing_speed(tmp_path: Path) -> None:
    found = figures(run_detector(FAST, read(tmp_path, bearing(4, 3), ("speed",)), pooled=False).verdicts)
    assert found["event_recall"] == 1.0
    assert found["roc_auc_macro"] is not None
    assert found["roc_auc_macro"] > 0.85


def test_odd_channels_are_no_obstacle_and_what_is_left_out_is_told(tmp_path: Path) -> None:
    data = read(tmp_path, odd_channels(4, train=200))
    for name in MODELS:
        outcome = run_detector(name, data, pooled=False)
        assert np.isfinite(outcome.verdicts[0].scores).all()
        assert outcome.notes == ("group 'plant': column 'dead' has no value in train, and is left out",)


def test_rows_without_any_value_are_no_alarm_and_are_told_of(tmp_path: Path) -> None:
    rows = pump_rig(1, 3, rows=600, train=300)
    channels = [c for c in rows.columns if c not in ("time", "group", "split", "label")]
    gone = rows.with_columns(pl.when(pl.int_range(pl.len()) < 590).then(pl.col(c)).alias(c) for c in channels)
    data = read(tmp_path, gone)
    assert not run_detector(FAST, data, pooled=False).verdicts[0].alarms[-10:].any()
    assert data.notes == ("10 rows have no value in any channel: they get no score and count as no alarm",)


# --- the command


def test_json_on_the_last_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = write(tmp_path, pump_rig(2, 1, rows=500, train=300), "pump.csv")
    second = write(tmp_path, odd_channels(1), "odd.csv")
    main([str(first), str(second), "--detectors", FAST, "--window", "5", "--json"])
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(told) >= {"machine", "runs", "figures", "bars"}
    got = told["figures"]
    assert got["groups"] == 3
    for detector in (FAST, "always_alarm", "never_alarm"):
        assert 0 <= got[f"{detector}_f1"] <= 1
        assert f"pump_{detector}_false_alarm_rate" in got
    assert {"roc_auc", "missed_alarm_rate", "event_recall", "delay_rows", "delay_s", "f1_macro", "fit_s"} <= {
        name.removeprefix(f"{FAST}_") for name in got
    }
    assert not any(name.startswith("isolation_forest") for name in got)


def test_a_table_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, pump_rig(2, 1, rows=500, train=300), "pump.csv")
    main([str(path), "--detectors", FAST])
    shown = capsys.readouterr().out
    assert "2 groups, 600 train rows, 400 test rows" in shown
    for word in ("statistical_baseline", "always_alarm", "never_alarm", "ROC AUC"):
        assert word in shown


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--context", "load"], "plant.csv: --context names 'load'"),
        (["--detectors", "oracle"], "'oracle' is none of statistical_baseline"),
        (["--window", "1"], "'1' is no number of rows"),
    ],
)
def test_a_mistake_ends_with_one_line_that_says_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        main([str(write(tmp_path, GOOD)), *arguments])
    assert stop.value.code == 2
    assert told in capsys.readouterr().err


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    for word in ("label", "group", "split", "always_alarm", "examples:", "no look-ahead"):
        assert word in shown
