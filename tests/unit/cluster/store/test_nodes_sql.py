"""What a node says costs what it has, not what it says."""

from pathlib import Path

from sqlalchemy import URL, event

from bcai.bridge.sandbox.level import JailReport
from bcai.cluster.store.engines import writing_engine
from bcai.cluster.store.nodes_sql import node_seen
from bcai.cluster.store.tables import METADATA
from bcai.jobs.node import Capabilities


def test_a_heartbeat_takes_as_many_statements_whatever_it_holds(tmp_path: Path) -> None:
    engine = writing_engine(URL.create("sqlite", database=str(tmp_path / "jobs.db")))
    METADATA.create_all(engine)
    statements: list[str] = []

    def note(*arguments: object) -> None:
        statements.append(str(arguments[2]))

    event.listen(engine, "before_cursor_execute", note)
    offered = Capabilities(1, 1, 1, "3.11", {}, JailReport("B"))
    with engine.begin() as connection:
        node_seen(connection, "n", "box", offered, None, [], 10.0, 1.0)
        counts: list[int] = []
        for count in (1, 500):
            statements.clear()
            held = [(f"job_{number}", "token") for number in range(count)]
            assert node_seen(connection, "n", None, None, None, held, 10.0, 1.0) == held
            counts.append(len(statements))
    assert counts[0] == counts[1]
