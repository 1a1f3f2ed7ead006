"""graphc and torch do the same work: equal losses and gradients from equal weights and data, on every workload.

torch's losses are on record, so this holds where torch is not installed; where it is, torch runs beside graphc too.
"""

from __future__ import annotations

import functools
import json
from typing import Any

import equal_work
import pytest
from equal_work import LIMITS, STEPS, WORKLOADS

RECORDED: dict[str, Any] = json.loads(equal_work.FILE.read_text())["workloads"]


@functools.cache
def losses(workload: str) -> list[float]:
    return equal_work.graphc_losses(workload, "float64")


@functools.cache
def gradients(workload: str) -> equal_work.Trajectory:
    return equal_work.graphc_gradients(workload, "float32")


def test_every_workload_is_on_record() -> None:
    assert list(RECORDED) == list(WORKLOADS)
    for row in RECORDED.values():
        assert len(row["losses"]) == STEPS
        assert row["losses"][-1] < 0.9 * row["losses"][0]  # the steps did something


@pytest.mark.parametrize("workload", WORKLOADS)
def test_losses_on_record(workload: str) -> None:
    assert equal_work.difference_of_losses(losses(workload), RECORDED[workload]["losses"]) < LIMITS["float64"]


@pytest.mark.parametrize("workload", WORKLOADS)
def test_gradients_on_record(workload: str) -> None:
    first, recorded = gradients(workload), RECORDED[workload]
    assert list(first.gradients) == list(recorded["gradients"])
    assert equal_work.difference_of_losses(first.losses, recorded["losses"][:1]) < LIMITS["float32"]
    assert equal_work.difference_of_digests(first.gradients, recorded["gradients"]) < LIMITS["float32"]


@pytest.mark.parametrize("workload", WORKLOADS)
def test_beside_torch(workload: str) -> None:
    pytest.importorskip("torch")
    beside = equal_work.torch_trajectory(workload, "float64")
    assert equal_work.difference_of_losses(losses(workload), beside.losses) < LIMITS["float64"]
    first, beside = gradients(workload), equal_work.torch_trajectory(workload, "float32", steps=1)
    assert equal_work.difference_of_losses(first.losses, beside.losses) < LIMITS["float32"]
    assert equal_work.difference_of_gradients(first.gradients, beside.gradients) < LIMITS["float32"]
