"""What holds for all tests: how Hypothesis searches, and which luck the simulator's tests have this time."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# A slow example is news about the machine, not about the program; what must be fast is measured in bench/.
settings.register_profile(
    "ours", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("ours")

# New worlds in each run, and other bugs of the zoo each day.  Drawn here, once, so that the processes among
# which the tests are dealt out agree; shown in the header, so that a run can be had again.
os.environ.setdefault("SIMULATE_SEED", str(int(time.time())))
os.environ.setdefault("ZOO_TURN", str(int(time.time()) // 86_400))


def pytest_report_header() -> str:
    return (
        f"SIMULATE_SEED={os.environ['SIMULATE_SEED']} ZOO_TURN={os.environ['ZOO_TURN']} (to repeat this run)"
    )


@pytest.fixture(scope="session", autouse=True)
def no_server_stays() -> Iterator[None]:
    """A PostgreSQL that tests have started ends with them."""
    yield
    if (bench := sys.modules.get("postgres_bench")) is not None:
        bench.stop_server()
