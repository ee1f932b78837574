"""Alembic's entry: runs the steps in `versions/` on the connection that salcheck hands over."""

from alembic import context
from sqlalchemy import create_engine
from sqlalchemy.engine import Connection


def run(connection: Connection) -> None:
    """All pending steps in one transaction; batch mode because SQLite cannot alter tables in place."""
    context.configure(connection=connection, render_as_batch=True, transaction_per_migration=False)
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:  # `alembic` on a developer's command line: alembic -x db=sqlite:///salcheck.db upgrade head
    url = context.get_x_argument(as_dictionary=True).get("db", "sqlite:///salcheck.db")
    with create_engine(url).begin() as own:
        run(own)
