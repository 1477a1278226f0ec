import pytest

from benchmarks.packing_speed import summary


def test_what_a_run_costs_in_any_case_falls_out_of_the_steady_speed():
    def runs(start: float, per_megabyte: float) -> list[list[dict[str, float]]]:
        seconds = [start + per_megabyte * size for size in (10, 30)]
        return [
            [{"seconds": s + noise, "cpu_seconds": s, "memory_mb": 1.0} for noise in (-1, 0, 5)]
            for s in seconds
        ]

    rows = summary({"lode": runs(20, 0.1), "datatrove": runs(1, 0.4)}, [10, 30], [1000, 3000])
    for clock in ("seconds", "cpu_seconds"):
        assert rows["lode"][clock]["steady_mb_per_s"] == 10
        assert rows["lode"][clock]["steady_tokens_per_s"] == 1000
        assert rows["datatrove"][clock]["lode_is_faster_by_steady"] == 4
        assert rows["datatrove"][clock]["lode_is_faster_by"] == pytest.approx(13 / 23, abs=0.01)
