"""How a model was read: what its outputs mean, what it was fed, and what had to be decided.

Models of older runs gave softmax confidences; what they were fed stands in their transform alone. Outputs that are
values have no confidence: a prediction's may be NULL.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

COLUMNS = {"output": "softmax", "input": "{}", "notes": "[]"}
VIEW = """
CREATE VIEW all_predictions AS
SELECT models.arch, models.name AS model, models.layer, models.dtype, datasets.name AS dataset, images.key AS image,
       predictions.rank, predictions.class, predictions.logit, predictions.probability
FROM predictions JOIN models ON models.id = predictions.model_id JOIN images ON images.id = predictions.image_id
JOIN datasets ON datasets.id = images.dataset_id
"""


def upgrade() -> None:
    _nullable(True)
    for name, before in COLUMNS.items():
        op.add_column("models", sa.Column(name, sa.Text(), nullable=False, server_default=before))


def downgrade() -> None:
    """To the tables of 0002; a confidence that there is not becomes 0."""
    op.execute("UPDATE predictions SET probability = 0 WHERE probability IS NULL")
    _nullable(False)
    for name in COLUMNS:
        op.drop_column("models", name)


def _nullable(nullable: bool) -> None:
    op.execute("DROP VIEW all_predictions")  # it would be in the way of a table made anew
    with op.batch_alter_table("predictions") as predictions:
        predictions.alter_column("probability", existing_type=sa.Float(), nullable=nullable)
    op.execute(VIEW)
