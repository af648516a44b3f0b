"""Puts the report of a kept evaluation into docs/detection.md: python -m refrig_assets.evaluation.document DIR."""

import shutil
import sys
from pathlib import Path

BEGIN, END = "<!-- evaluation: begin -->", "<!-- evaluation: end -->"
PAGE = Path("docs/detection.md")


def put(kept: Path, page: Path = PAGE) -> list[Path]:
    """Replace what lies between the marks by the kept report, and copy its pictures; returns what was written."""
    text, report = page.read_text(), (kept / "report.md").read_text()
    if BEGIN not in text or END not in text:
        raise ValueError(f"{page} has no marks {BEGIN} and {END} to put the report between")
    written = [page]
    for picture in sorted(kept.glob("detection-*.png")):
        written.append(page.parent / "images" / picture.name)
        written[-1].parent.mkdir(exist_ok=True)
        shutil.copyfile(picture, written[-1])
        report = report.replace(f"]({picture.name})", f"](images/{picture.name})")
    body = report.removeprefix("# Evaluation\n").strip()
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    page.write_text(f"{before}{BEGIN}\n{body}\n{END}{after}")
    return written


if __name__ == "__main__":
    for path in put(Path(sys.argv[1])):
        print(path)
