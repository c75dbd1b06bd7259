"""The simulator: whole nodes in virtual time, with faults.  It keeps the truth apart from what cfm believes.

From the bottom: `environment` is what programs live in, `processes` are the programs, `world` is one node,
the `invariants` are the rules, `fault_events` the faults, and `run` plays seeds.
"""
