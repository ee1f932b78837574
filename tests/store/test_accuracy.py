import pytest
from scipy.stats import binom

from salcheck.store.accuracy import Accuracy, accuracy
from salcheck.store.results import Store, to_json
from tests.databases import add_run


@pytest.mark.oracle
@pytest.mark.parametrize(("right", "of", "classes"), [(4, 7, 3), (5, 7, 3), (60, 100, 2), (58, 100, 2), (0, 9, 2)])
def test_chance_is_what_guessing_reaches_more_often_than_one_time_in_twenty(right, of, classes):
    guessing = sum(binom.pmf(k, of, 1 / classes) for k in range(right, of + 1))
    assert Accuracy(right, of, 1 / classes).no_better_than_chance == (guessing > 0.05)


@pytest.mark.parametrize("seen", [Accuracy(0, 0, 0.0), Accuracy(2, 2, 0.5), Accuracy(0, 4, 0.5), Accuracy(9, 9, 1.0)])
def test_of_too_few_images_nothing_is_said(seen):
    assert not seen.no_better_than_chance


def test_it_is_counted_from_what_is_stored(tmp_path):
    with Store(str(tmp_path / "a.db")) as store:
        run = add_run(store, {"gradcam": [1.0] * 6})
        truth, predicted = [[0], [1], [], [2, 3], [4], [5]], [0, 2, 1, 3, 4, None]
        images = store.query("SELECT image_id FROM run_images WHERE run_id = :run ORDER BY position", run=run)
        from sqlalchemy import text

        with store.transaction() as connection:
            for image, own, top in zip(images["image_id"], truth, predicted, strict=True):
                connection.execute(
                    text("UPDATE images SET labels = :own WHERE id = :id"), {"own": to_json(own), "id": int(image)}
                )
                if top is not None:
                    connection.execute(
                        text("INSERT INTO predictions VALUES (1, :id, 1, :top, 0, 0), (1, :id, 2, 9, 0, 0)"),
                        {"id": int(image), "top": top},
                    )
        found = accuracy(store, run)
    assert (found.right, found.of) == (3, 4)
    assert found.chance == pytest.approx((1 + 1 + 2 + 1) / 40)
    assert str(found) == "3 of 4 right"
