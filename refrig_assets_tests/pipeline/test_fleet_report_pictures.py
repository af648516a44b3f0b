"""The pictures of the board: every severity keeps the colour that its legend names."""

import base64
import io

import numpy as np
from PIL import Image

from refrig_assets.pipeline.fleet_report_pictures import COLOURS, board_picture
from refrig_assets_tests.alerting.makers_board import board_of, found
from refrig_assets_tests.builders import at


def test_a_severity_of_which_there_is_none_keeps_its_colour_in_the_legend() -> None:
    severities = ("CRITICAL", "MEDIUM", "LOW")
    stands = board_of(*(found(f"dev-{n}", n, severity=severities[n % 3]) for n in range(30)))
    shown = board_picture(stands, at(120)).split("base64,")[1].removesuffix(")")
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(shown))).convert("RGB")).reshape(-1, 3)
    there = set(map(tuple, np.unique(pixels, axis=0).tolist()))
    for severity, colour in COLOURS.items():
        assert tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5)) in there, severity
