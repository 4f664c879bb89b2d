"""Turns what was measured into Markdown and plots: only text in, only text out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks import plot

Figures = Mapping[str, Any]
"""Of one operation by one candidate: ``rounds``, ``processor`` and ``calls``."""

OPERATIONS = {
    "save": "save",
    "save_checked": "save with check",
    "load_latest": "load latest",
    "page": "page of 25",
    "page_of_node": "page of 25 of a node",
    "fork": "fork of 100 steps",
}
SQLITE, POSTGRES, MARIADB = (
    f"this app ({server})" for server in ("SQLite", "PostgreSQL", "MariaDB")
)
LANGGRAPH_SQLITE, LANGGRAPH_POSTGRES = "langgraph-sqlite", "langgraph-postgres"
OURS = {
    LANGGRAPH_SQLITE: SQLITE,
    LANGGRAPH_POSTGRES: POSTGRES,
    f"{LANGGRAPH_POSTGRES}, pipeline": POSTGRES,
    f"{LANGGRAPH_POSTGRES}, pool": POSTGRES,
    "bare sqlite3": SQLITE,
    "bare psycopg": POSTGRES,
    "bare mysqlclient": MARIADB,
}
"""The candidate that each peer is compared with."""

# Must and goal: their time by ours, so that above 1 we are faster.
GOALS: dict[str, dict[str, tuple[float, float]]] = {
    "save": {"sqlite": (0.55, 0.75), "postgres": (0.75, 1.1), "bare": (0.65, 0.8)},
    "load_latest": {"sqlite": (0.65, 1.0), "postgres": (1.7, 2.4), "bare": (0.5, 0.7)},
    "page": {"sqlite": (0.75, 1.1), "postgres": (1.3, 2.0), "bare": (0.6, 0.8)},
}
GOAL_OF = {
    LANGGRAPH_SQLITE: "sqlite",
    LANGGRAPH_POSTGRES: "postgres",
    f"{LANGGRAPH_POSTGRES}, pipeline": "postgres",
    f"{LANGGRAPH_POSTGRES}, pool": "postgres",
    "bare sqlite3": "bare",
    "bare psycopg": "bare",
}
MOST_BYTES = 1.3
LARGEST_GROWTH = 1.5


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, text: bool = False) -> str:
    """Return a Markdown table; without ``text``, its first column alone is text."""
    lines = [heads, ["---", *["---" if text else "---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def middle(figures: Figures) -> float:
    """Return the median of the rounds."""
    return median(figures["rounds"])


def milliseconds(figures: Figures | None) -> str:
    """Return the median, the minimum and the maximum of the rounds."""
    if figures is None:
        return "–"
    rounds = figures["rounds"]
    return f"{_short(middle(figures))} ({_short(min(rounds))}–{_short(max(rounds))})"


def _short(seconds: float) -> str:
    value = seconds * 1000
    return f"{value:.0f}" if value >= 100 else f"{value:.{1 if value >= 10 else 2}f}"


def ratio(operation: Mapping[str, Figures], peer: str) -> float | None:
    """Return a peer's median by ours; above 1 we are faster."""
    ours = OURS[peer]
    if peer not in operation or ours not in operation:
        return None
    return middle(operation[peer]) / middle(operation[ours])


def verdict(value: float, must: float, goal: float) -> str:
    """Return a ratio and what it reaches."""
    reached = "goal" if value >= goal else "must" if value >= must else "**below**"
    return f"{value:.2f} {reached}"


def number(value: float) -> str:
    """Return a number with thousands apart."""
    return f"{value:,.0f}"


# The page


def page(results: Mapping[str, Any]) -> str:
    """Return what stands between the marks of docs/performance.md."""
    sections = {
        "peers": _peers,
        "memory": _memory,
        "processes": _processes,
        "breakdown": _breakdown,
        "scale": _scale,
    }
    texts = [
        "\n\n".join(each for each in (*sections[part](results[part]), _about(results[part])))
        for part in sections
        if part in results
    ]
    if "peers" in results:
        texts.insert(0, "\n\n".join(_goals(results)))
    return "\n" + "\n\n".join(texts) + "\n"


def _about(part: Mapping[str, Any]) -> str:
    return f"{part['machine']}\n\n{_wrapped(part['versions'] + '.')}"


def _wrapped(text: str) -> str:
    lines, line = [], ""
    for word in text.split():
        if len(line) + len(word) >= 100:
            lines.append(line)
            line = ""
        line = f"{line} {word}".strip()
    return "\n".join([*lines, line])


def _goals(results: Mapping[str, Any]) -> Iterator[str]:
    yield "## The goals"
    yield _wrapped(
        "Their time by ours, workload (a), medians of one run: above 1 this app is faster. Beside"
        " each figure stands whether it reaches what was set as a must, or as the goal."
    )
    operations = results["peers"]["workloads"].get("a", {}).get("operations", {})
    peers = [peer for peer in GOAL_OF if any(peer in each for each in operations.values())]
    rows = []
    for operation, goals in GOALS.items():
        cells = []
        for peer in peers:
            value = ratio(operations[operation], peer)
            cells.append("–" if value is None else verdict(value, *goals[GOAL_OF[peer]]))
        rows.append([OPERATIONS[operation], *cells])
    rows += _throughput_and_bytes(results, peers)
    yield table(["", *peers], rows)
    musts = [
        [OPERATIONS[operation], *(f"{must} / {goal}" for must, goal in goals.values())]
        for operation, goals in GOALS.items()
    ]
    yield table(
        ["must / goal", LANGGRAPH_SQLITE, LANGGRAPH_POSTGRES, "the bare driver"],
        [
            *musts,
            ["saves a second by 8 processes", "1", "1", "–"],
            ["bytes on disk, ours by theirs", *[f"at most {MOST_BYTES}"] * 2, "–"],
        ],
    )


def _throughput_and_bytes(results: Mapping[str, Any], peers: list[str]) -> Iterator[list[str]]:
    if "processes" in results:
        rates = results["processes"]["rates"]
        yield [
            "saves a second by 8 processes, ours by theirs",
            *(_rate_verdict(rates, peer) for peer in peers),
        ]
    sizes = results["peers"]["workloads"].get("a", {}).get("bytes", {})
    yield [
        "bytes on disk, ours by theirs",
        *(_size_verdict(sizes, peer) for peer in peers),
    ]


def _rate_verdict(rates: Mapping[str, Sequence[float]], peer: str) -> str:
    if peer not in rates or peer.startswith("bare"):
        return "–"
    return verdict(median(rates[OURS[peer]]) / median(rates[peer]), 0, 1).replace("must", "below")


def _size_verdict(sizes: Mapping[str, int], peer: str) -> str:
    if peer not in sizes or peer.startswith("bare"):
        return "–"
    value = sizes[OURS[peer]] / sizes[peer]
    return f"{value:.2f} {'goal' if value <= MOST_BYTES else '**above**'}"


def _peers(part: Mapping[str, Any]) -> Iterator[str]:
    yield "## Side by side"
    yield "![Medians of workload (a), side by side.](images/performance.svg)"
    for key, workload in part["workloads"].items():
        yield f"### ({key}) {workload['title']}"
        operations = workload["operations"]
        names = list(operations["save"])
        shown = [operation for operation in OPERATIONS if operation in operations]
        yield _wrapped(
            f"{number(workload['steps'])} steps, {workload['state_bytes'] / 1000:.1f} kB a state"
            " on average; milliseconds a call: median (minimum–maximum) of the rounds."
        )
        yield table(
            ["", *(OPERATIONS[operation] for operation in shown), "MB on disk"],
            [
                [
                    name,
                    *(milliseconds(operations[operation].get(name)) for operation in shown),
                    f"{workload['bytes'][name] / 1e6:.1f}",
                ]
                for name in names
            ],
        )
        yield "Their time by ours, and the processor time of the client, milliseconds a call:"
        yield table(
            ["", *_doubled(OPERATIONS[operation] for operation in shown)],
            [[name, *_ratios(operations, shown, name)] for name in names],
        )
    yield "What makes each of them durable, as the databases themselves say:"
    settled = [list(pair) for pair in part["durability"].items()]
    yield table(["", "durability"], settled, text=True)


def _doubled(heads: Iterator[str]) -> Iterator[str]:
    for head in heads:
        yield f"{head}, ×"
        yield "processor"


def _ratios(operations: Mapping[str, Any], shown: Sequence[str], name: str) -> Iterator[str]:
    for operation in shown:
        figures = operations[operation].get(name)
        value = ratio(operations[operation], name) if name in OURS else None
        yield "–" if value is None else f"{value:.2f}"
        yield "–" if figures is None else _short(figures["processor"])


def _memory(part: Mapping[str, Any]) -> Iterator[str]:
    yield "## Memory of a page of 1 000"
    yield _wrapped(
        f"The peak of the process above what it held before, with states of"
        f" {part['state_bytes'] / 1000:.0f} kB on average; each in a process of its own."
    )
    yield table(["", "MB"], [[name, f"{size / 1e6:.0f}"] for name, size in part["bytes"].items()])


def _processes(part: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {part['processes']} processes at once"
    yield _wrapped(
        f"Each saves into a session of its own for {part['seconds']:g} seconds, states as in (a);"
        " saves a second of all together: median (minimum–maximum) of the rounds."
    )
    yield table(
        ["", "saves a second"],
        [
            [name, f"{number(median(each))} ({number(min(each))}–{number(max(each))})"]
            for name, each in part["rates"].items()
        ],
    )


def _breakdown(part: Mapping[str, Any]) -> Iterator[str]:
    yield "## Where the time of a save goes"
    yield _wrapped(
        "Workload (a), microseconds, medians. The trigger and the commit are what the bare driver's"
        " save loses without them; checks and JSON are timed by themselves; Django and the service"
        " are what remains above the bare driver."
    )
    servers = [name for name in part if isinstance(part[name], dict)]
    columns = [list(shares(part[server])) for server in servers]
    rows = [
        [columns[0][position][0], *(_microseconds(column[position][1]) for column in columns)]
        for position in range(len(columns[0]))
    ]
    yield table(["", *servers], rows)


def _microseconds(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds * 1e6:.0f}"


def shares(times: Mapping[str, float]) -> Iterator[tuple[str, float | None]]:
    """Yield the parts of a save, which add up to the first."""
    without_trigger = times["bare without trigger"]
    without_fsync = times.get("bare without trigger and fsync")
    yield "save", times["app"]
    yield "checks and JSON", times["row"]
    above = times["app"] - times["row"] - (times["bare"] - times["encode"])
    yield "Django and the service", above
    yield "the trigger and its snapshot", times["bare"] - without_trigger
    yield "the way to the disk", None if without_fsync is None else without_trigger - without_fsync
    rest = without_trigger if without_fsync is None else without_fsync
    yield "driver and database", rest - times["encode"]


# A million steps


def _scale(part: Mapping[str, Any]) -> Iterator[str]:
    small, large = (number(size) for size in part["sizes"])
    yield f"## From {small} to {large} steps"
    yield "![How each call grows.](images/performance-scale.svg)"
    yield _wrapped(
        f"Sessions of {part['steps_a_session']} steps of {part['state_bytes']:,} bytes a state, and"
        " in the larger database one session of"
        f" {number(part['deep_steps'])} more. Milliseconds, medians; the calls on both databases"
        " take turns. Filling took "
        + ", ".join(
            f"{seconds / 60:.1f} minutes on {server}" for server, seconds in part["filled"].items()
        )
        + ". In memory of its own each database keeps: "
        + ", ".join(part["caches"].values())
        + "."
    )
    servers = list(part["servers"])
    heads = [f"{server}: {size}" for server in servers for size in (small, large, "×", "queries")]
    calls = part["servers"][servers[0]]["calls"]
    yield table(
        ["", *heads],
        [
            [call, *(cell for server in servers for cell in _growth(part["servers"][server], call))]
            for call in calls
        ],
    )
    yield _wrapped(
        f"A page of 25 at any depth of the session of {number(part['deep_steps'])} steps. The rows"
        " alone, found by `max_step`; the same by `offset`; and the whole call, whose exact count"
        " reads the index of what matches."
    )
    depths = part["servers"][servers[0]]["depths"]
    yield table(
        ["", *(f"{server}: {kind}" for server in servers for kind in _kinds(depths))],
        [
            [
                f"{number(int(depth))} steps deep",
                *(
                    _short(seconds)
                    for server in servers
                    for seconds in part["servers"][server]["depths"][depth].values()
                ),
            ]
            for depth in depths
        ],
    )
    yield "### Query plans"
    yield _wrapped(
        f"At {large} steps, as each database explains them, in short: of SQLite the steps of its"
        " plan, of PostgreSQL the nodes that read, of MariaDB the way into each table and the rows"
        " that it expects."
    )
    yield table(
        ["call", *(f"{server}" for server in servers)],
        [
            [call, *("; ".join(part["servers"][server]["plans"][call]) for server in servers)]
            for call in part["servers"][servers[0]]["plans"]
        ],
        text=True,
    )


def _kinds(depths: Mapping[str, Mapping[str, float]]) -> list[str]:
    return list(next(iter(depths.values())))


def _growth(server: Mapping[str, Any], call: str) -> Iterator[str]:
    figures = server["calls"][call]
    before, after = figures["seconds"]
    grown = after / before
    yield _short(before)
    yield _short(after)
    yield f"{grown:.2f}" if grown <= LARGEST_GROWTH else f"**{grown:.2f}**"
    few, many = figures["queries"]
    yield str(few) if few == many else f"**{few} → {many}**"


# The README and the plots


def readme(results: Mapping[str, Any]) -> str:
    """Return the short table of the README."""
    operations = results.get("peers", {}).get("workloads", {}).get("a", {}).get("operations")
    if not operations:
        return ""
    names = [
        name
        for name in (SQLITE, LANGGRAPH_SQLITE, POSTGRES, LANGGRAPH_POSTGRES, MARIADB)
        if name in operations["save"]
    ]
    rows = [
        [
            OPERATIONS[operation],
            *(
                _short(middle(operations[operation][name]))
                if name in operations[operation]
                else "–"
                for name in names
            ),
        ]
        for operation in OPERATIONS
    ]
    return f"\n{table(['milliseconds, median', *names], rows)}\n"


def plots(results: Mapping[str, Any]) -> dict[str, str]:
    """Return the plots by their file names."""
    found = {}
    operations = results.get("peers", {}).get("workloads", {}).get("a", {}).get("operations")
    if operations:
        panels = [
            (
                OPERATIONS[operation],
                [
                    plot.Bar(
                        label=name,
                        value=middle(each) * 1000,
                        low=min(each["rounds"]) * 1000,
                        high=max(each["rounds"]) * 1000,
                        style=_style(name),
                    )
                    for name, each in operations[operation].items()
                ],
            )
            for operation in GOALS
        ]
        found["performance.svg"] = plot.bars(
            "Milliseconds a call, workload (a)",
            "Median of the rounds, with minimum and maximum; shorter is faster.",
            panels,
        )
    if "scale" in results:
        part = results["scale"]
        panels = [
            (
                server,
                [
                    plot.Bar(
                        label=call,
                        value=figures["seconds"][1] / figures["seconds"][0],
                        style="ours",
                    )
                    for call, figures in each["calls"].items()
                    if not call.startswith("list_sessions")
                ],
            )
            for server, each in part["servers"].items()
        ]
        small, large = (number(size) for size in part["sizes"])
        found["performance-scale.svg"] = plot.bars(
            f"Time at {large} steps by time at {small}",
            f"1 is no growth; the line is at {LARGEST_GROWTH}.",
            panels,
            line=LARGEST_GROWTH,
        )
    return found


def _style(name: str) -> str:
    if name.startswith("this app"):
        return "ours"
    return "bare" if name.startswith("bare") else "peer"
