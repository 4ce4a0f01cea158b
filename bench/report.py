"""Prints what was measured, as ratios to one server."""

from statistics import median


def table(scenario, samples, base):
    """One scenario: a row for each group of each server, cheapest first."""
    rows = []
    failed = []
    for server, found in samples.items():
        if isinstance(found, str):
            failed.append(f"  {server}: not timed: {found}")
            continue
        cpu, memory = median(sample["cpu_us"] for sample in found), median(sample["memory_mib"] for sample in found)
        limited = any(sample["own_load"] > 0.97 for sample in found)
        for index, group in enumerate(found[0]["groups"]):
            figures = {key: median(sample["groups"][index][key] for sample in found) for key in ("rate", "p50_ms", "p99_ms", "p999_ms")}
            reconnects = max(sample["groups"][index]["reconnects"] for sample in found)
            others = median(sample.get("others", 0) for sample in found)
            notes = ["the load generator was the limit"] * limited + [f"{reconnects} reconnects"] * (reconnects > 64)
            notes += [f"other programs took {others:.0%} of the server's core"] * (others > 0.05 and index == 0)
            spread = (max(sample["cpu_us"] for sample in found) - min(sample["cpu_us"] for sample in found)) / cpu if cpu else 0
            rows.append({"server": server, "group": group["name"], "first": index == 0, "cpu": cpu, "memory": memory, "spread": spread, "notes": notes, **figures})
    rows.sort(key=lambda row: (row["cpu"], row["server"]))
    reference = {row["group"]: row for row in rows if row["server"] == base}
    lines = [f"\n{scenario.name}: {scenario.says}", f"  {'server':<26}{'CPU us/request':>16}{'ratio':>8}{'spread':>8}{'requests/s':>14}{'ratio':>8}{'p50 ms':>9}{'p99 ms':>9}{'p99.9 ms':>10}{'MiB':>7}"]
    for row in rows:
        name = row["server"] if len(scenario.groups) == 1 else f"{row['server']} {row['group']}"
        against = reference.get(row["group"])
        ratio = {key: f"{row[key] / against[key]:.2f}" if against and against[key] else "" for key in ("cpu", "rate")}
        cost = f"{row['cpu']:>16.1f}{ratio['cpu']:>8}{row['spread']:>8.0%}" if row["first"] else " " * 32
        memory = f"{row['memory']:>7.0f}" if row["first"] else ""
        lines.append(f"  {name:<26}{cost}{row['rate']:>14,.0f}{ratio['rate']:>8}{row['p50_ms']:>9.2f}{row['p99_ms']:>9.2f}{row['p999_ms']:>10.2f}{memory}"
                     + "".join(f"  ({note})" for note in row["notes"]))
    return "\n".join(lines + failed)
