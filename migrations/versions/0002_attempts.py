"""Attempts, kinds of notes, digests of code, and views with names.

What changes no score (batch size, device, versions, command) moves from runs and models to attempts, one for each old
run. A note's kind gets a column of its own, and old notes are split by their prefix. A fact that is true or false says
so in a column, and no longer by its name.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

WITHOUT_ROWID = {"sqlite_with_rowid": False}  # SQLite makes an altered table anew, and forgets this
MOVE = """
INSERT INTO attempts (run_id, started, command, batch_size, device, versions)
SELECT runs.id, runs.created, runs.command, runs.batch_size, models.device, runs.versions
FROM runs JOIN models ON models.id = runs.model_id ORDER BY runs.id
"""
# Notes of what is undefined that had no prefix.
WHOLE = (
    "'undefined for this image', 'claims no sum', 'has no distance', 'no other image in the batch to compare with',"
    " 'no change leaves the class as it is, or the map of a changed image ranks too few pixels'"
)
SPLIT = [
    "UPDATE scores SET kind = 'blank', note = substr(note, 8) WHERE note LIKE 'blank: %'",
    "UPDATE scores SET kind = 'excluded', note = substr(note, 11) WHERE note LIKE 'excluded: %'",
    "UPDATE scores SET kind = 'undefined', note = substr(note, 12) WHERE note LIKE 'undefined: %'",
    f"UPDATE scores SET kind = 'undefined' WHERE kind IS NULL AND note IN ({WHOLE})",
    "UPDATE scores SET kind = 'failed' WHERE kind IS NULL AND note IS NOT NULL",
]
OWN = "attempt_id = (SELECT attempts.id FROM attempts WHERE attempts.run_id = scores.run_id)"
NAMES = """
JOIN models ON models.id = {table}.model_id JOIN images ON images.id = {table}.image_id
JOIN datasets ON datasets.id = images.dataset_id
"""
OF_MODEL = "models.arch, models.name AS model, models.layer, models.dtype, datasets.name AS dataset"
VIEWS = {
    "all_scores": f"""
SELECT scores.run_id AS run, runs.question, {OF_MODEL}, images.key AS image, methods.spec AS method,
       methods.control, scores.metric, scores.level, scores.value, scores.kind, scores.note,
       scores.attempt_id AS attempt
FROM scores JOIN runs ON runs.id = scores.run_id JOIN models ON models.id = runs.model_id
JOIN images ON images.id = scores.image_id JOIN datasets ON datasets.id = images.dataset_id
JOIN methods ON methods.id = scores.method_id
""",
    "all_maps": f"""
SELECT {OF_MODEL}, images.key AS image, methods.spec AS method, methods.inputs, maps.role, maps.checksum,
       maps.signature, maps.attempt_id AS attempt
FROM maps JOIN methods ON methods.id = maps.method_id {NAMES.format(table="maps")}
""",
    "all_facts": f"""
SELECT {OF_MODEL}, images.key AS image, methods.spec AS method, facts.role, facts.name, facts.flag, facts.value
FROM facts JOIN methods ON methods.id = facts.method_id {NAMES.format(table="facts")}
""",
    "all_predictions": f"""
SELECT {OF_MODEL}, images.key AS image, predictions.rank, predictions.class, predictions.logit,
       predictions.probability
FROM predictions {NAMES.format(table="predictions")}
""",
}


def upgrade() -> None:
    op.create_table(
        "attempts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("started", sa.Text(), nullable=False),
        sa.Column("command", sa.Text(), nullable=False),
        sa.Column("batch_size", sa.Integer(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("versions", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_attempts_run_id_runs"),
        sa.PrimaryKeyConstraint("id", name="pk_attempts"),
    )
    op.execute(MOVE)
    op.create_table(
        "run_methods",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("method_id", sa.Integer(), nullable=False),
        sa.Column("asked", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["method_id"], ["methods.id"], name="fk_run_methods_method_id_methods"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_run_methods_run_id_runs"),
        sa.PrimaryKeyConstraint("run_id", "method_id", name="pk_run_methods"),
    )
    op.execute("INSERT INTO run_methods SELECT DISTINCT run_id, method_id, 1 FROM scores")
    for table in ("scores", "maps"):
        with op.batch_alter_table(table, table_kwargs=WITHOUT_ROWID) as batch:
            if table == "scores":
                batch.add_column(sa.Column("kind", sa.String(length=16)))
            batch.add_column(sa.Column("attempt_id", sa.Integer()))
            batch.create_foreign_key(f"fk_{table}_attempt_id_attempts", "attempts", ["attempt_id"], ["id"])
    op.execute(f"UPDATE scores SET {OWN}")
    for statement in SPLIT:
        op.execute(statement)
    op.execute("ALTER TABLE facts ADD COLUMN flag BOOLEAN DEFAULT FALSE NOT NULL")
    op.execute("UPDATE facts SET flag = TRUE WHERE name NOT LIKE '% ='")
    op.execute("UPDATE facts SET name = substr(name, 1, length(name) - 2) WHERE name LIKE '% ='")
    with op.batch_alter_table("runs") as runs:
        for name in ("batch_size", "versions", "command"):
            runs.drop_column(name)
        runs.add_column(sa.Column("version", sa.Integer(), nullable=False, server_default="0"))
        runs.add_column(sa.Column("code", sa.String(length=64), nullable=False, server_default=""))
    with op.batch_alter_table("models") as models:
        models.drop_column("device")
    with op.batch_alter_table("methods") as methods:
        methods.add_column(sa.Column("code", sa.String(length=64), nullable=False, server_default=""))
        methods.drop_constraint("uq_methods_name_parameters_inputs", type_="unique")
        methods.create_unique_constraint(
            "uq_methods_name_parameters_inputs_code", ["name", "parameters", "inputs", "code"]
        )
    for name, query in VIEWS.items():
        op.execute(f"CREATE VIEW {name} AS {query}")


def downgrade() -> None:
    """To the tables of 0001; of a run's attempts only the first is kept."""
    for name in VIEWS:
        op.execute(f"DROP VIEW {name}")
    with op.batch_alter_table("methods") as methods:
        methods.drop_constraint("uq_methods_name_parameters_inputs_code", type_="unique")
        methods.drop_column("code")
        methods.create_unique_constraint("uq_methods_name_parameters_inputs", ["name", "parameters", "inputs"])
    op.execute("UPDATE facts SET name = name || ' =' WHERE NOT flag")
    op.execute("UPDATE scores SET note = kind || ': ' || note WHERE kind IN ('blank', 'excluded')")
    op.execute(f"UPDATE scores SET note = 'undefined: ' || note WHERE kind = 'undefined' AND note NOT IN ({WHOLE})")
    _drop("facts", "flag")
    _drop("maps", "attempt_id", key=True)
    _drop("scores", "attempt_id", key=True)
    _drop("scores", "kind")
    with op.batch_alter_table("runs") as runs:
        runs.drop_column("version")
        runs.drop_column("code")
        runs.add_column(sa.Column("batch_size", sa.Integer(), nullable=False, server_default="0"))
        for name in ("versions", "command"):
            runs.add_column(sa.Column(name, sa.Text(), nullable=False, server_default=""))
    with op.batch_alter_table("models") as models:
        models.add_column(sa.Column("device", sa.Text(), nullable=False, server_default=""))
    first = "FROM attempts WHERE attempts.run_id = runs.id ORDER BY attempts.id LIMIT 1"
    for name in ("batch_size", "versions", "command"):
        op.execute(
            f"UPDATE runs SET {name} = (SELECT attempts.{name} {first}) WHERE id IN (SELECT run_id FROM attempts)"
        )
    own = "FROM attempts JOIN runs ON runs.id = attempts.run_id WHERE runs.model_id = models.id LIMIT 1"
    op.execute(f"UPDATE models SET device = COALESCE((SELECT attempts.device {own}), '')")
    op.drop_table("run_methods")
    op.drop_table("attempts")


def _drop(table: str, column: str, key: bool = False) -> None:
    with op.batch_alter_table(table, table_kwargs=WITHOUT_ROWID) as batch:
        if key:
            batch.drop_constraint(f"fk_{table}_{column}_attempts", type_="foreignkey")
        batch.drop_column(column)
