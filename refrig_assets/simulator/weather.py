"""Air around the machines: season, time of day, the week's weather and the shop's heating. No machine here."""

from dataclasses import dataclass

import numpy as np

from refrig_assets.simulator import catalogue, noise
from refrig_assets.simulator.fleet import Devices
from refrig_assets.simulator.noise import F32, F64, I64

_EPOCH_DAY_OF_YEAR = 365.2425
_WARMEST_DAY_NORTH = 201.0
_WARMEST_HOUR = 15.0


@dataclass(frozen=True)
class Air:
    indoor: F32
    outdoor: F32
    humidity: F32


def local_hour(devices: Devices, hour: I64) -> F64:
    return np.asarray((hour + utc_offsets(devices)) % 24.0, dtype=np.float64)


def utc_offsets(devices: Devices) -> F64:
    return np.array([r.utc_offset_h for r in catalogue.REGIONS], dtype=np.float64)[devices.region]


def air(seed: int, devices: Devices, hour: I64) -> Air:
    """Air at each device at full hours since the epoch. All devices of a site share the site's weather."""
    zones = [catalogue.CLIMATES[r.climate] for r in catalogue.REGIONS]

    def of(name: str) -> F64:
        return np.array([getattr(z, name) for z in zones], dtype=np.float64)[devices.region]

    southern = np.array([r.southern for r in catalogue.REGIONS])[devices.region]
    day_of_year = (hour / 24.0) % _EPOCH_DAY_OF_YEAR
    warmest = np.where(southern, _WARMEST_DAY_NORTH + _EPOCH_DAY_OF_YEAR / 2, _WARMEST_DAY_NORTH)
    season = np.cos(2 * np.pi * (day_of_year - warmest) / _EPOCH_DAY_OF_YEAR)
    clock = local_hour(devices, hour)
    daily = np.cos(2 * np.pi * (clock - _WARMEST_HOUR) / 24.0)
    front = noise.walk(seed, "site/weather", devices.site, hour)
    cloud = noise.walk(seed, "site/cloud", devices.site, hour)
    outdoor = (
        of("mean_c") + of("season_k") * season + of("day_k") * (1 - 0.25 * cloud) * daily + of("weather_k") * front
    )
    outdoor = np.clip(outdoor, -36, 46)
    # The shop is kept near 21 °C by day, a little less at night, and follows the weather a little.
    open_hours = ((clock >= 6) & (clock < 22)).astype(np.float64)
    indoor = 20.0 + 1.5 * open_hours + 0.14 * (outdoor - 18.0) + 0.6 * noise.walk(seed, "site/hvac", devices.site, hour)
    humid = noise.walk(seed, "site/humidity", devices.site, hour)
    humidity = np.clip(of("humidity") - 6 * daily + 5 * humid, 12, 88)
    # Heated winter air indoors is dry.
    indoor_humidity = np.clip(humidity - 0.9 * np.clip(indoor - outdoor, -5, 25), 12, 85)
    mixed = devices.outdoor * humidity + (1 - devices.outdoor) * indoor_humidity
    return Air(
        np.clip(indoor + devices.indoor_shift, 8, 38).astype(np.float32),
        outdoor.astype(np.float32),
        mixed.astype(np.float32),
    )
