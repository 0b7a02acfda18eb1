"""The database, as SQLAlchemy Core tables: the same on SQLite and PostgreSQL.

Structured values (specs, outcomes, reasons, event bodies) are JSON text with every other than
ASCII character escaped: PostgreSQL's own JSON type refuses the NUL that a job may well print.
Times are Unix seconds.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

METADATA = MetaData()

JOBS = Table(
    "jobs",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("spec", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Column("lock_token", Text, nullable=False),
    Column("attempt", Integer, nullable=False),  # how many there were; the last one's number
    Column("event_count", Integer, nullable=False),  # the last event's sequence
    Column("node_id", Text),
    Column("lease_until", Double),
    Column("not_before", Double, nullable=False),
    Column("cancel_requested", Boolean, nullable=False),
    Column("waiting", Text),
    Column("progress", Double, nullable=False),
    Column("started_at", Double),
    Column("finished_at", Double),
    Column("outcome", Text),
    Column("warnings", Text, nullable=False),
    # What it asks of a node, out of its spec: see Note [What is free is not counted].
    Column("memory_bytes", BigInteger, nullable=False, server_default="0"),
    Column("cpu_count", BigInteger, nullable=False, server_default="0"),
    Column("gpu_count", BigInteger, nullable=False, server_default="0"),
    Index("jobs_by_time", "created_at", "id"),
    Index("jobs_by_owner", "owner", "created_at", "id"),
    Index("jobs_by_state", "state", "created_at", "id"),
    # Jobs that wait are on no node: to submit one costs nothing here.
    Index(
        "jobs_by_node",
        "node_id",
        "state",
        sqlite_where=text("node_id IS NOT NULL"),
        postgresql_where=text("node_id IS NOT NULL"),
    ),
)

ATTEMPTS = Table(
    "attempts",
    METADATA,
    Column("job_id", Text, ForeignKey("jobs.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("lock_token", Text, nullable=False),
    Column("node_id", Text, nullable=False),
    Column("node_name", Text, nullable=False),
    Column("assigned_at", Double, nullable=False),
    Column("started_at", Double),
    Column("ended_at", Double),
    Column("reason", Text),
)

EVENTS = Table(
    "events",
    METADATA,
    Column("job_id", Text, ForeignKey("jobs.id"), primary_key=True),
    Column("sequence", Integer, primary_key=True),
    Column("at", Double, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("report", Integer),  # the node's number of the report that this came from
    Column("kind", Text, nullable=False),
    Column("body", Text, nullable=False),
    UniqueConstraint("job_id", "attempt", "report", name="events_report_once"),
)

NODES = Table(
    "nodes",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("capabilities", Text, nullable=False),
    Column("seen_at", Double, nullable=False),
    Column("key_id", Text),  # the API key that the node came with; another live one is refused
    Column("signing_key", Text),  # what signs its receipts; another one is refused
)

API_KEYS = Table(
    "api_keys",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("secret_hash", Text, nullable=False, unique=True),
    Column("created_at", Double, nullable=False),
    Column("revoked_at", Double),
)

SETTLEMENTS = Table(
    "settlements",
    METADATA,
    Column("job_id", Text, ForeignKey("jobs.id"), primary_key=True),
    Column("state", Text, nullable=False),
    Column("committed_at", Double, nullable=False),
    Column("body", Text, nullable=False),
    Index("settlements_by_state", "state", "committed_at", "job_id"),
)

REPLICAS = Table(
    "replicas",
    METADATA,
    Column("job_id", Text, ForeignKey("jobs.id"), primary_key=True),
    Column("order_id", Text, ForeignKey("jobs.id"), nullable=False),  # the first replica
    Column("number", Integer, nullable=False),
    Column("fingerprint", Text),  # of the whole group; on the first replica's row alone
    Index("replicas_by_order", "order_id", "number"),
)

DISPUTES = Table(
    "disputes",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("job_id", Text, ForeignKey("jobs.id"), nullable=False),
    Column("node_id", Text, nullable=False),
    Column("is_open", Boolean, nullable=False),
    Column("opened_at", Double, nullable=False),
    Column("body", Text, nullable=False),
    Index("disputes_by_job", "job_id", "opened_at"),
    Index("disputes_open", "is_open", "node_id"),
)

IDEMPOTENCY = Table(
    "idempotency",
    METADATA,
    Column("owner", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("job_id", Text, ForeignKey("jobs.id"), nullable=False),
    Column("created_at", Double, nullable=False),
)
