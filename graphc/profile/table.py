"""A profile as text: a header that says what was measured, kernels by time, then the user's lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from graphc.ir.printer import format_bytes

if TYPE_CHECKING:
    from graphc.profile.report import KernelProfile, Profile

WIDTH = 120
"""Characters of a line; longer ones are cut."""

INDENT = " " * 15


def format_profile(profile: Profile, most: int | None = None) -> str:
    """The text of a profile; see :meth:`Profile.table`."""
    lines = [*_head(profile), "", *_kernels(profile, most), "", *_by_line(profile, most)]
    return "\n".join(line if len(line) <= WIDTH else line[: WIDTH - 3] + "..." for line in lines)


def _head(profile: Profile) -> Iterator[str]:
    rest = max(0.0, profile.step_us - profile.kernels_us)
    over = f", median of {profile.steps} steps" if profile.steps > 1 else ""
    sizes = ", ".join(f"{name} = {size}" for name, size in profile.sizes.items())
    yield f"step: {profile.step_us:.1f} us{over}" + (f"; {sizes}" if sizes else "")
    yield (
        f"  {profile.counted}: {profile.kernels_us:.1f} us, at the machine's limits "
        f"{profile.limit_us:.1f} us; feeds, waking workers, control, outputs: {rest:.1f} us"
    )
    for known in profile.limits:
        peaks = ", ".join(f"{dtype} {rate / 1e9:.0f} GFLOP/s" for dtype, rate in known.peak.items())
        (small, fast), (large, slow) = known.streams[0], known.streams[-1]
        yield (
            f"  limits of {known.workers} worker{'s' * (known.workers > 1)}: {peaks}; memory {fast / 1e9:.0f} GB/s "
            f"({format_bytes(small)}) to {slow / 1e9:.0f} GB/s ({format_bytes(large)})"
        )
    yield f"  each kernel was timed alone; the timer's own {profile.timer_ns} ns are subtracted from each interval"


def _kernels(profile: Profile, most: int | None) -> Iterator[str]:
    yield (
        f"{'us':>9} {'time':>5} {'calls':>6} {'workers':>8} {'operations':>11} {'bytes':>10} {'GFLOP/s':>8} "
        f"{'GB/s':>6} {'limit':>6} {'bound by':<10} kernel"
    )
    ranked = sorted(profile.kernels, key=lambda kernel: -kernel.time_us)
    for kernel in ranked[:most]:
        yield _row(kernel, profile.kernels_us)
        yield from (f"{INDENT}{line}" for line in kernel.lines)
    rest = ranked[most:] if most is not None else []
    if rest:
        yield f"{sum(kernel.time_us for kernel in rest):9.1f}  in {len(rest)} more"


def _row(kernel: KernelProfile, total_us: float) -> str:
    seconds = kernel.time_us * 1e-6
    operations, moved = (kernel.operations / seconds, kernel.bytes / seconds) if seconds else (0.0, 0.0)
    workers = "1" if kernel.workers == 1 else f"{kernel.workers} ({kernel.balance:.0%})"
    title = kernel.name if kernel.number is None else f"{kernel.number}: {kernel.name}"
    return (
        f"{kernel.time_us:9.1f} {kernel.time_us / total_us if total_us else 0:5.0%} {kernel.calls:6d} {workers:>8} "
        f"{_scaled(kernel.operations):>11} {format_bytes(kernel.bytes):>10} {operations / 1e9:8.1f} "
        f"{moved / 1e9:6.1f} {kernel.share_of_limit:6.0%} {kernel.bound:<10} {title}"
    )


def _by_line(profile: Profile, most: int | None) -> Iterator[str]:
    yield f"{'us':>9} {'time':>5}  line (kernels of several lines are shared out by their operations)"
    found = list(profile.by_line().items())
    total = profile.kernels_us
    for line, us in found[:most]:
        yield f"{us:9.1f} {us / total if total else 0:5.0%}  {line or '(from no line of the program)'}"
    rest = found[most:] if most is not None else []
    if rest:
        yield f"{sum(us for _, us in rest):9.1f}  in {len(rest)} more"


def _scaled(count: int) -> str:
    """A count for people: ``25.7 M``."""
    value, unit = float(count), ""
    for larger in ("k", "M", "G", "T"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.4g} {unit}".rstrip()
