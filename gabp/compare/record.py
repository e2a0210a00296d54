"""Comparisons as plain records, with the machine and the commit they were taken on."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gabp.compare.comparison import Comparison, Plan
from gabp.compare.machine import describe_commit, describe_machine
from gabp.compare.peers import PEERS, Peer, versions

__all__ = ["comparison_record"]


def comparison_record(
    comparisons: Sequence[Comparison],
    plan: Plan,
    peers: Sequence[Peer] = tuple(PEERS.values()),
    checkout: Path | None = None,
) -> dict[str, Any]:
    """Everything that was measured, and on what: times in seconds, memory in bytes.

    `checkout` is where the code is from, if not from where gabp runs.
    """
    machine = describe_machine()
    machine["versions"] |= versions(peers)
    return {
        "machine": machine,
        "code": describe_commit(checkout),
        "plan": asdict(plan),
        "comparisons": [asdict(comparison) for comparison in comparisons],
    }
