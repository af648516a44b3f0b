"""How far the demo is, on stderr: a bar a stage in a terminal, else a line whenever a stage is done."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from refrig_assets.cli.common import console

Tell = Callable[[str, int], None]


@contextmanager
def stages(totals: Mapping[str, int]) -> Iterator[Tell]:
    """Stages with how much there is to do in each; what is yielded counts what is done."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    out, begun = console(stderr=True), time.monotonic()
    columns = (TextColumn("{task.description:<20}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    done = dict.fromkeys(totals, 0)
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as bars:
        tasks = {stage: bars.add_task(stage, total=total, start=False) for stage, total in totals.items()}

        def tell(stage: str, more: int) -> None:
            if stage not in tasks:
                return
            if not done[stage]:
                bars.start_task(tasks[stage])
            done[stage] += more
            bars.update(tasks[stage], completed=min(done[stage], totals[stage]))
            if done[stage] == totals[stage] and not out.is_terminal:
                out.print(f"{time.monotonic() - begun:4.0f} s  {stage}: done")

        yield tell
