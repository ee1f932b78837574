"""The spine: models, datasets, images, methods, runs, predictions, maps, facts and scores."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "datasets",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("root", sa.Text(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_datasets"),
        sa.UniqueConstraint("digest", name="uq_datasets_digest"),
    )
    op.create_table(
        "methods",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("parameters", sa.Text(), nullable=False),
        sa.Column("inputs", sa.Text(), nullable=False),
        sa.Column("control", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_methods"),
        sa.UniqueConstraint("name", "parameters", "inputs", name="uq_methods_name_parameters_inputs"),
    )
    op.create_table(
        "models",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("arch", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("weights", sa.String(length=64), nullable=False),
        sa.Column("layer", sa.Text(), nullable=False),
        sa.Column("transform", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("dtype", sa.Text(), nullable=False),
        sa.Column("classes", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_models"),
        sa.UniqueConstraint("key", name="uq_models_key"),
    )
    op.create_table(
        "images",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("row", sa.Integer(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name="fk_images_dataset_id_datasets"),
        sa.PrimaryKeyConstraint("id", name="pk_images"),
        sa.UniqueConstraint("dataset_id", "row", name="uq_images_dataset_id_row"),
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("parameters", sa.Text(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("batch_size", sa.Integer(), nullable=False),
        sa.Column("versions", sa.Text(), nullable=False),
        sa.Column("command", sa.Text(), nullable=False),
        sa.Column("created", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name="fk_runs_dataset_id_datasets"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_runs_model_id_models"),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
        sa.UniqueConstraint("key", name="uq_runs_key"),
    )
    op.create_table(
        "facts",
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("method_id", sa.Integer(), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("image_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name="fk_facts_image_id_images"),
        sa.ForeignKeyConstraint(["method_id"], ["methods.id"], name="fk_facts_method_id_methods"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_facts_model_id_models"),
        sa.PrimaryKeyConstraint("model_id", "method_id", "role", "image_id", "name", name="pk_facts"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "maps",
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("method_id", sa.Integer(), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("image_id", sa.Integer(), nullable=False),
        sa.Column("checksum", sa.BigInteger(), nullable=False),
        sa.Column("signature", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name="fk_maps_image_id_images"),
        sa.ForeignKeyConstraint(["method_id"], ["methods.id"], name="fk_maps_method_id_methods"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_maps_model_id_models"),
        sa.PrimaryKeyConstraint("model_id", "method_id", "role", "image_id", name="pk_maps"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "predictions",
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("image_id", sa.Integer(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("class", sa.Integer(), nullable=False),
        sa.Column("logit", sa.Float(), nullable=False),
        sa.Column("probability", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name="fk_predictions_image_id_images"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_predictions_model_id_models"),
        sa.PrimaryKeyConstraint("model_id", "image_id", "rank", name="pk_predictions"),
    )
    op.create_table(
        "run_images",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("image_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name="fk_run_images_image_id_images"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_run_images_run_id_runs"),
        sa.PrimaryKeyConstraint("run_id", "position", name="pk_run_images"),
        sa.UniqueConstraint("run_id", "image_id", name="uq_run_images_run_id_image_id"),
    )
    op.create_table(
        "scores",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("method_id", sa.Integer(), nullable=False),
        sa.Column("metric", sa.String(length=32), nullable=False),
        sa.Column("level", sa.Float(), nullable=False),
        sa.Column("image_id", sa.Integer(), nullable=False),
        sa.Column("value", sa.Float(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name="fk_scores_image_id_images"),
        sa.ForeignKeyConstraint(["method_id"], ["methods.id"], name="fk_scores_method_id_methods"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_scores_run_id_runs"),
        sa.PrimaryKeyConstraint("run_id", "method_id", "metric", "level", "image_id", name="pk_scores"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("scores")
    op.drop_table("run_images")
    op.drop_table("predictions")
    op.drop_table("maps")
    op.drop_table("facts")
    op.drop_table("runs")
    op.drop_table("images")
    op.drop_table("models")
    op.drop_table("methods")
    op.drop_table("datasets")
