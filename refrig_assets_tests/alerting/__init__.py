"""Tests of refrig_assets.alerting."""
