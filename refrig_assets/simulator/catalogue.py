"""What a fleet can consist of: models, regions, climates, firmware. Plain tables, no randomness."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Cohort:
    """A model and its duty. Temperatures in °C, differences in K."""

    name: str
    model: str
    share: float
    refrigerant: str
    box_c: float  # temperature kept inside
    evaporator_difference: float  # box minus evaporating temperature
    condenser_difference: float  # condensing temperature minus air, at full load
    superheat: float
    subcooling: float
    current_a: float
    vibration: float
    duty: float  # share of capacity needed at 22 °C
    outdoor: float  # 0 = condenser in the shop, 1 = on the roof
    defrosts_a_day: int
    defrost_share: float
    defrost_runs: float  # compressor speed while defrosting: 0 electric heater, > 0 hot gas
    door_share: float
    current_threshold_a: float = 40.0
    interval_factor: int = 1


COHORTS: tuple[Cohort, ...] = (
    Cohort("reach-in-freezer", "Polar RF-450", 0.24, "R290", -19, 6.5, 13, 8, 5, 9, 2.8, 0.66, 0, 4, 0.080, 0.3, 0.055),
    Cohort("walk-in-freezer", "Norda WF-20", 0.12, "R404A", -20, 7, 12, 8, 5, 18, 3.6, 0.70, 1, 4, 0.085, 0, 0.045),
    Cohort("walk-in-cooler", "Norda WC-20", 0.16, "R134a", 2.5, 8, 12, 7.5, 5.5, 12, 3.0, 0.62, 1, 4, 0.075, 0, 0.06),
    Cohort("display-case", "Vitrine DC-3", 0.20, "R1234yf", 2, 9, 13, 8, 5, 11, 3.0, 0.68, 0, 5, 0.080, 0, 0.06, 35.0),
    Cohort(
        "ice-cream-freezer", "Gelo IC-2", 0.11, "R404A", -24, 7, 14, 8.5, 4.5, 10, 2.6, 0.74, 0, 4, 0.085, 0.3, 0.045
    ),
    Cohort("island-freezer", "Vitrine IF-5", 0.08, "R404A", -21, 7, 13, 8, 5, 14, 3.2, 0.70, 0, 4, 0.080, 0, 0.04),
    Cohort("beverage-cooler", "Polar BC-2", 0.06, "R134a", 3.5, 8, 14, 7, 5, 6, 2.2, 0.58, 0, 4, 0.075, 0, 0.065, 25.0),
    Cohort("pharmacy-cooler", "Cura PC-1", 0.03, "R290", 4, 7.5, 12, 7, 5, 5, 1.8, 0.50, 0, 4, 0.075, 0, 0.02, 25.0, 5),
)


@dataclass(frozen=True)
class Climate:
    """Outdoor air: yearly mean, seasonal and daily half-swing, day-to-day spread (K), relative humidity (%)."""

    mean_c: float
    season_k: float
    day_k: float
    weather_k: float
    humidity: float


CLIMATES: dict[str, Climate] = {
    "tropical": Climate(27, 2, 4, 1.2, 68),
    "arid": Climate(24, 10, 7, 2.0, 30),
    "temperate": Climate(11, 8, 4.5, 2.6, 60),
    "continental": Climate(8, 14, 5.5, 3.4, 55),
    "subarctic": Climate(1, 13, 4, 3.6, 58),
}


@dataclass(frozen=True)
class Region:
    name: str
    climate: str
    share: float
    utc_offset_h: float
    southern: bool = False
    humidity_probe: bool = True


REGIONS: tuple[Region, ...] = (
    Region("eu-west", "temperate", 0.30, 1),
    Region("eu-east", "continental", 0.18, 2),
    Region("us-southwest", "arid", 0.16, -7),
    Region("nordics", "subarctic", 0.12, 1, humidity_probe=False),
    Region("apac-south", "tropical", 0.16, 7),
    Region("oceania", "temperate", 0.08, 10, southern=True),
)


@dataclass(frozen=True)
class Firmware:
    version: str
    share: float
    lacks: tuple[str, ...] = ()


FIRMWARE: tuple[Firmware, ...] = (
    Firmware("2.3.0", 0.45),
    Firmware("2.4.1", 0.32),
    Firmware("1.9.4", 0.12, ("vibration_compressor",)),
    Firmware("1.4.2", 0.06, ("vibration_compressor", "subcooling")),
    Firmware("3.0.0", 0.035),
    Firmware("3.1.0-beta", 0.015),
)

SITE_DEVICES = 20
SITE_NAMES: tuple[str, ...] = ("Market", "Foods", "Fresh", "Depot", "Grocer", "Hall", "Pantry", "Corner")
PEOPLE: tuple[str, ...] = ("a.keller", "b.okafor", "c.rossi", "d.nguyen", "e.larsen", "f.garcia", "g.novak", "h.tanaka")
SERVICE_FIRMS: tuple[str, ...] = ("coldcare", "frostline", "polar-service", "kaelte-nord")
