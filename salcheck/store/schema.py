"""The tables, as today's code reads and writes them. Only `migrations/` creates them; a test holds the two together."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _id() -> Column:
    return Column("id", Integer, primary_key=True)


def _made_by() -> Column:
    """The attempt that made a row; NULL for rows from before attempts were kept."""
    return Column("attempt_id", ForeignKey("attempts.id"))


def _to(table: str, *, primary_key: bool = False) -> Column:
    return Column(f"{table}_id", ForeignKey(f"{table}s.id"), primary_key=primary_key, nullable=False)


models = Table(
    "models",
    metadata,
    _id(),
    Column("key", String(64), nullable=False, unique=True),  # hash of modules, weights, layer, transform, precision
    Column("arch", Text, nullable=False),  # as typed
    Column("name", Text, nullable=False),  # timm's full name with its weight tag
    Column("weights", String(64), nullable=False),
    Column("layer", Text, nullable=False),
    Column("transform", Text, nullable=False),
    Column("dtype", Text, nullable=False),
    Column("classes", Integer, nullable=False),
    Column("output", Text, nullable=False, server_default="softmax"),  # softmax, sigmoid or value
    Column("input", Text, nullable=False, server_default="{}"),  # JSON: size, crop, mean, ... of what it is fed
    Column("notes", Text, nullable=False, server_default="[]"),  # JSON list: what had to be decided about it
)

datasets = Table(
    "datasets",
    metadata,
    _id(),
    Column("digest", String(64), nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("root", Text, nullable=False),
    Column("size", Integer, nullable=False),
)

images = Table(
    "images",
    metadata,
    _id(),
    _to("dataset"),
    Column("row", Integer, nullable=False),  # its place in the dataset, and so in the files of the map cache
    Column("key", Text, nullable=False),
    Column("labels", Text, nullable=False),  # JSON list of class indices
    UniqueConstraint("dataset_id", "row"),
)

methods = Table(
    "methods",
    metadata,
    _id(),
    Column("name", Text, nullable=False),
    Column("spec", Text, nullable=False),  # the shortest way to type it
    Column("parameters", Text, nullable=False),  # JSON, all of them
    Column("inputs", Text, nullable=False),  # JSON: references and seed it reads, by their identity
    Column("control", Boolean, nullable=False),
    Column("code", String(64), nullable=False, server_default=""),  # digest of what makes its maps; empty: unknown
    UniqueConstraint("name", "parameters", "inputs", "code"),
)

runs = Table(
    "runs",
    metadata,
    _id(),
    Column("key", String(64), nullable=False, unique=True),  # hash of all that can change a score
    Column("question", Text, nullable=False),
    _to("model"),
    _to("dataset"),
    Column("reference", Text, nullable=False),  # where references come from, in words
    Column("parameters", Text, nullable=False),  # JSON
    Column("seed", BigInteger, nullable=False),
    Column("created", Text, nullable=False),  # UTC, ISO 8601
    Column("version", Integer, nullable=False, server_default="0"),  # of the question; 0: before there were any
    Column("code", String(64), nullable=False, server_default=""),  # digest of what makes its scores; empty: unknown
)

# One process that worked on a run. Nothing of it changes a score.
attempts = Table(
    "attempts",
    metadata,
    _id(),
    _to("run"),
    Column("started", Text, nullable=False),  # UTC, ISO 8601
    Column("command", Text, nullable=False),
    Column("batch_size", Integer, nullable=False),
    Column("device", Text, nullable=False),
    Column("versions", Text, nullable=False),  # JSON
)

# Which editions of methods a run has: the one of the highest number was asked for last.
run_methods = Table(
    "run_methods",
    metadata,
    _to("run", primary_key=True),
    _to("method", primary_key=True),
    Column("asked", Integer, nullable=False),
)

run_images = Table(
    "run_images",
    metadata,
    _to("run", primary_key=True),
    Column("position", Integer, primary_key=True),
    _to("image"),
    UniqueConstraint("run_id", "image_id"),
)

predictions = Table(
    "predictions",
    metadata,
    _to("model", primary_key=True),
    _to("image", primary_key=True),
    Column("rank", Integer, primary_key=True),  # 1 is the predicted class
    Column("class", Integer, nullable=False),
    Column("logit", Float, nullable=False),
    Column("probability", Float),  # confidence, by a softmax or a sigmoid; NULL where outputs are values
)

maps = Table(
    "maps",
    metadata,
    _to("model", primary_key=True),
    _to("method", primary_key=True),
    Column("role", String(32), primary_key=True),  # top1, top2
    _to("image", primary_key=True),
    Column("checksum", BigInteger, nullable=False),  # CRC-32 of the map in the cache
    Column("signature", Float),  # ranking.signature; NULL for a map with no positive value
    _made_by(),
    sqlite_with_rowid=False,
)

facts = Table(
    "facts",
    metadata,
    _to("model", primary_key=True),
    _to("method", primary_key=True),
    Column("role", String(32), primary_key=True),
    _to("image", primary_key=True),
    Column("name", String(32), primary_key=True),  # what the method had to decide for this map
    Column("value", Float, nullable=False),
    Column("flag", Boolean, nullable=False, server_default=false()),  # true or false, and to be counted
    sqlite_with_rowid=False,
)

scores = Table(
    "scores",
    metadata,
    _to("run", primary_key=True),
    _to("method", primary_key=True),
    Column("metric", String(32), primary_key=True),
    Column("level", Float, primary_key=True),  # the metric's own axis: a percentage, a step, a role
    _to("image", primary_key=True),
    Column("value", Float),  # NULL: no number, and `note` says why
    Column("note", Text),
    Column("kind", String(16)),  # of the note: blank, excluded, undefined, failed
    _made_by(),
    sqlite_with_rowid=False,
)

# Views for whoever opens the database: names instead of ids. The last migration that changes one makes it.
VIEWS = ("all_scores", "all_maps", "all_facts", "all_predictions")
