"""What holds for all tests: how Hypothesis searches, on fast machines and on busy ones."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# A slow example is news about the machine, not about the program; what must be fast is measured in bench/.
settings.register_profile(
    "ours", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("ours")
