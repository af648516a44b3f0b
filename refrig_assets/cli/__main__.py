"""`python -m refrig_assets.cli` is `refrig`."""

from refrig_assets.cli import main

main(prog_name="refrig")
