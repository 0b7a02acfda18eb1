"""The ladder of jails on this machine: every level that it may build, really built and tried."""

from collections.abc import Mapping
from dataclasses import asdict

from bcai.bridge.sandbox.level import JailReport, is_enough
from bcai.cli.finding import Finding, Health
from bcai.settings import Settings


def examine_jail(settings: Settings) -> list[Finding]:
    """Say which level a node here has, then what each rung of the ladder is made of."""
    from bcai.bridge.sandbox.probe import probe_alone, probe_jail, probe_namespaces

    level_max = settings.node.jail_level_max
    best = probe_jail(level_max)
    rungs = {
        "level A, B": probe_namespaces(),
        "with programs": probe_namespaces(programs=True),
        "level C": probe_alone(),
    }
    usual = rungs["level A, B"]
    return [
        _sum(best, level_max, rungs),
        *(_rung(f"- {name}", report, usual) for name, report in rungs.items()),
    ]


def _sum(best: JailReport, level_max: str, rungs: Mapping[str, JailReport]) -> Finding:
    details: dict[str, object] = {
        "level": best.level,
        "layers": list(best.layers),
        "missing": list(best.missing),
        "rungs": {name: asdict(report) for name, report in rungs.items()},
    }
    found = f"level {best.level}"
    if level_max != "A":
        found += f"; the settings allow {level_max} at most (node.jail_level_max)"
    lacking = "; ".join(best.missing)
    if best.level == "none":
        return Finding("jail", Health.MISSING, found, lacking, details)
    if not is_enough(best.level, "high"):
        remedy = f"only jobs of --security-level standard run here. Lacking: {lacking}"
        return Finding("jail", Health.OPTIONAL, found, remedy, details)
    return Finding("jail", Health.OK, f"{found}, for jobs of every security level", "", details)


def _rung(name: str, report: JailReport, usual: JailReport) -> Finding:
    """One rung: the walls that were tried from inside and held, and the one that did not."""
    own = [layer for layer in report.layers if layer not in usual.layers]
    lost = set(usual.layers) - set(report.layers)
    is_like_usual = bool(own and usual.layers) and lost <= {"no other programs"}
    held = ", ".join(["as above", *own] if is_like_usual else report.layers) or "nothing"
    missing = report.missing if report is usual or report.missing != usual.missing else ()
    stands = "does not stand" if report.level == "none" else f"stands as {report.level}"
    health = Health.OPTIONAL if report.missing else Health.OK
    return Finding(name, health, f"{stands}; tried and held: {held}", "\n".join(missing))
