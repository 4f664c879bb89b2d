"""Run the benchmarks, and write their results into the documentation.

SQLite is always measured, PostgreSQL and MariaDB if ``TEST_POSTGRES_URL`` and
``TEST_MARIADB_URL`` are set.
"""

from __future__ import annotations

import argparse
import time

from benchmarks import (
    galera,
    growth,
    harness,
    histories,
    labels,
    pages,
    partitions,
    peers,
    scale,
    telemetry,
)

PARTS = {
    "peers": peers.measure_calls,
    "histories": histories.measure_histories,
    "scale": scale.measure_scale,
    "labels": labels.measure_labels,
    "pruning": scale.measure_pruning,
    "pages": pages.measure_pages,
    "serde": pages.measure_serde,
    "telemetry": telemetry.measure_telemetry,
    "simulation": growth.measure_simulation,
    "galera": galera.measure_galera,
    "partitions": partitions.measure_partitions,
}


def main() -> None:
    """Run each part in a fresh process, and replace its sections."""
    servers = harness.get_servers()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=PARTS, help="a part; repeatable")
    parser.add_argument("--database", action="append", choices=servers, help="repeatable")
    parser.add_argument("--quick", action="store_true", help="try it out: print, write nothing")
    options = parser.parse_args()
    for part in options.only or PARTS:
        print(f"measuring: {part}", flush=True)
        run, began = harness.describe_run(), time.perf_counter()
        texts = harness.run_alone(PARTS[part], options.database or servers, options.quick)
        print(f"{part}: {(time.perf_counter() - began) / 60:.1f} minutes", flush=True)
        if not texts:
            print(f"NOT measured: {part}", flush=True)
            continue
        texts[harness.RESULTS] = f"{run}\n\n{texts[harness.RESULTS]}"
        for path, text in texts.items():
            if options.quick:
                print(f"== {path}\n{text}")
            elif path.suffix in (".json", ".svg"):
                path.write_text(text, encoding="utf-8")
            else:
                is_peers = part == "peers" and path != harness.RESULTS
                harness.write_section(path, "performance" if is_peers else part, text)


if __name__ == "__main__":
    main()
