"""How a model was read: what its outputs mean, what it was fed, and what had to be decided.

Models of older runs gave softmax confidences; what they were fed stands in their transform alone.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

COLUMNS = {"output": "softmax", "input": "{}", "notes": "[]"}


def upgrade() -> None:
    for name, before in COLUMNS.items():
        op.add_column("models", sa.Column(name, sa.Text(), nullable=False, server_default=before))


def downgrade() -> None:
    for name in COLUMNS:
        op.drop_column("models", name)
