"""Metric families with one line each.  Neighbours: `metrics` and `health_metrics` yield them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric


def gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def labelled(name: str, text: str, label: str, values: Mapping[Any, float]) -> Metric:
    return _fill(GaugeMetricFamily(name, text, labels=[label]), values)


def counted(name: str, text: str, label: str, values: Mapping[Any, float]) -> Metric:
    return _fill(CounterMetricFamily(name, text, labels=[label]), values)


def _fill(family: GaugeMetricFamily | CounterMetricFamily, values: Mapping[Any, float]) -> Metric:
    for label, value in values.items():
        family.add_metric([str(label)], value)
    return family
