"""Measures the whole product against a simulated fleet's truth: plans, the run, the judgement, the report."""
