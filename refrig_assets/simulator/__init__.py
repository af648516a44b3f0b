"""Simulated fleets with faults, their truth, and the mess of telemetry. Imports contracts, nothing else of ours."""

from refrig_assets.simulator.arrivals import raw_hour
from refrig_assets.simulator.faults import FAULTS, FaultKind, parse_faults
from refrig_assets.simulator.fleet import Fleet, make_fleet
from refrig_assets.simulator.landing import FleetSpec, LandingSummary, write_landing
from refrig_assets.simulator.measure import simulate_hour
from refrig_assets.simulator.mess import Mess
from refrig_assets.simulator.plan import FaultPlan, no_faults, plan_faults

__all__ = [
    "FAULTS",
    "FaultKind",
    "FaultPlan",
    "Fleet",
    "FleetSpec",
    "LandingSummary",
    "Mess",
    "make_fleet",
    "no_faults",
    "parse_faults",
    "plan_faults",
    "raw_hour",
    "simulate_hour",
    "write_landing",
]
