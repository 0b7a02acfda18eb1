"""Alembic's entry: run the revisions on the connection that `migrate.py` hands over."""

from alembic import context

from bcai.cluster.store.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    transactional_ddl=True,  # SQLite can, once its driver leaves BEGIN to us
    render_as_batch=True,  # SQLite alters a table by copying it
)
with context.begin_transaction():
    context.run_migrations()
