"""Tests of the simulator. A package, so that its modules' names do not meet those of other test folders."""
