"""Parts in regions, counted by hand and a second way in plain Python; points through a real transform."""

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform
from torchvision.transforms import ToTensor

from salcheck.datasets import Dataset, Item, Parts
from salcheck.diagnostics import counterfactual
from salcheck.diagnostics.counterfactual import roles, threshold
from salcheck.errors import SalcheckError
from salcheck.inputs.truth import Truth
from salcheck.maps.notes import Kind
from salcheck.perturb.answers import Memory
from salcheck.questions import QUESTIONS, RANDOM, TOP1, TOP2
from salcheck.runs.asking import parse_question
from tests.diagnostics.memories import with_memory
from tests.linear import LinearNet, linear_view

score = with_memory(counterfactual.score)

SIDE = 8
PERCENT = (100 / 64, 100 * 3 / 64, 25.0, 50.0)  # 1, 3, 16 and 32 of 64 pixels
N, P = 3, 4


class World:
    """Images of one size (H, W) with P parts each, of N classes in turn, and maps by what an image's pixels say."""

    def __init__(self, points, differences, size=(SIDE, SIDE)):
        """points (B, P, 3), differences (N, N, P)."""
        self.size = size
        self.points = np.asarray(points, dtype=float)
        B = len(self.points)
        self.items = [Item(str(b), (b % N,)) for b in range(B)]
        parts = Parts(
            [str(p) for p in range(P)], lambda item: self.points[int(item.key)], np.asarray(differences, float)
        )
        self.dataset = Dataset("made", "", self.items, lambda item: Image.new("RGB", size[::-1]), parts=parts)
        self.images = torch.arange(B).float()[:, None, None, None].expand(-1, 3, *size).clone()
        self.asked, self.explained = [], []

    def view(self, rows):
        return linear_view(LinearNet(torch.ones(N, 3, *self.size)), self.images[rows])

    def truth(self, rows):
        items = [self.items[row] for row in rows]
        return Truth(self.dataset, items, [self.size[::-1]] * len(rows), ToTensor(), torch.device("cpu"))

    def example(self, u):
        self.asked.append(u)
        row = next((b for b, item in enumerate(self.items) if u in item.labels), None)
        return None if row is None else (self.images[row], self.truth([row]))

    def maps(self, rows, classes, seed=0):
        """A random map for every image and pair of classes."""
        found = []
        for row, pair in zip(rows, classes.tolist(), strict=True):
            generator = torch.Generator().manual_seed(seed + 100 * row + 10 * pair[0] + pair[1])
            found.append(torch.rand(2, *self.size, generator=generator))
        return torch.stack(found)

    def explain(self, view, classes):
        rows = view.images[:, 0, 0, 0].long().tolist()
        self.explained.append((rows, classes.tolist()))
        return self.maps(rows, classes)

    def score(self, rows, classes, maps=None, view=None, **parameters):
        classes = torch.tensor(classes)
        maps = self.maps(rows, classes) if maps is None else maps
        given = {"explain": self.explain, "truth": self.truth(rows), "example": self.example}
        view = self.view(rows) if view is None else view
        return score(view, classes, maps, **({"percent": PERCENT} | parameters), **given)


def random_world(seed=0, B=12):
    rng = np.random.default_rng(seed)
    points = np.dstack([rng.uniform(0, SIDE, (B, P, 2)), rng.random((B, P, 1)) < 0.8])
    differences = rng.random((N, N, P))
    differences += differences.transpose(1, 0, 2)
    differences[range(N), range(N)] = 0
    return World(points, differences)


def one_image(points, differ, other=None, **more):
    """Image 0 of class 0, whose class differs from class 1 as told; image 1 of class 1."""
    differences = np.zeros((N, N, P))
    differences[0, 1] = differences[1, 0] = differ
    return World([points, points if other is None else other], differences, **more)


CORNERS = [[0.5, 0.5, 1], [7.5, 0.5, 1], [0.5, 7.5, 1], [7.5, 7.5, 1]]


@pytest.mark.oracle
def test_by_hand():
    """The map falls row by row: the top 1 and 3 pixels hold the first part, 16 the first two, 32 no more."""
    world = one_image(CORNERS, [1, 0, 1, 0])
    falling = torch.arange(64, 0, -1.0).view(1, 1, SIDE, SIDE).expand(1, 2, -1, -1)
    values = world.score([0], [[0, 1]], falling).values
    assert values["recall_at"][0].tolist() == [0.5] * 4
    assert values["precision_at"][0].tolist() == [1, 1, 0.5, 0.5]
    assert values["f1_at"][0].tolist() == pytest.approx([2 / 3, 2 / 3, 0.5, 0.5])
    assert values["base_rate"].item() == 0.5
    assert values["lift"].item() == pytest.approx(0.25)
    assert values["f1"].item() == pytest.approx((2 / 3 + 2 / 3 + 1) / 4)
    values = world.score([0], [[0, 1]], falling, percent=(100 * 7 / 64, 100 * 8 / 64)).values
    assert values["precision_at"][0].tolist() == [1, 0.5]  # the second part is the eighth pixel


def test_by_hand_on_a_picture_that_is_wider_than_high():
    """Of 128 pixels, row by row: the parts are the first, the 16th and the 113th; one lies beyond the picture."""
    places = [[0.5, 0.5, 1], [15.5, 0.5, 1], [0.5, 7.5, 1], [99, 99, 1]]
    world = one_image(places, [1, 0, 1, 1], size=(8, 16))
    falling = torch.arange(128, 0, -1.0).view(1, 1, 8, 16).expand(1, 2, -1, -1)
    percent = tuple(100 * size / 128 for size in (15, 16, 112, 113))
    values = world.score([0], [[0, 1]], falling, percent=percent).values
    assert values["precision_at"][0].tolist() == pytest.approx([1, 1 / 2, 1 / 2, 2 / 3])
    assert values["recall_at"][0].tolist() == [0.5, 0.5, 0.5, 1]


def test_f1_is_0_and_precision_no_number_where_no_part_is_marked():
    world = one_image(CORNERS, [1, 0, 1, 0])
    middle = torch.zeros(1, 2, SIDE, SIDE)
    middle[..., 2:6, 2:6] = 1  # 16 pixels
    values = world.score([0], [[0, 1]], middle, percent=(5.0, 25.0)).values
    assert values["precision_at"].isnan().all()
    assert values["f1_at"].tolist() == [[0, 0]]
    assert values["recall_at"].tolist() == [[0, 0]]
    assert values["f1"].tolist() == [0]
    assert values["lift"].isnan().all()


@pytest.mark.parametrize("differ", [[1, 0, 0, 0], [0, 1, 1, 0], [1, 1, 1, 1]])
def test_a_map_of_exactly_the_parts_that_differ_is_perfect_at_their_size(differ):
    world = one_image(CORNERS, differ)
    maps = torch.zeros(1, 2, SIDE, SIDE)
    for (x, y, _), d in zip(CORNERS, differ, strict=True):
        maps[0, 0, int(y), int(x)] = d
    values = world.score([0], [[0, 1]], maps, percent=(100 * sum(differ) / 64,)).values
    for name in ("recall_at", "precision_at", "f1_at"):
        assert values[name].tolist() == [[1]], name
    assert values["lift"].item() == pytest.approx(1 - sum(differ) / 4)
    maps[0, 0] = 1 - maps[0, 0]
    values = world.score([0], [[0, 1]], maps, percent=(50.0,)).values
    assert values["f1"].item() < 0.8


def test_only_the_map_of_the_first_class_is_measured():
    world = random_world()
    rows, classes = [0, 3], [[0, 1], [0, 2]]
    maps = world.maps(rows, torch.tensor(classes))
    first = world.score(rows, classes, maps).values
    maps[:, 1] = torch.rand(2, SIDE, SIDE)
    again = world.score(rows, classes, maps).values
    assert all(torch.equal(first[name].nan_to_num(-9), again[name].nan_to_num(-9)) for name in first)


def in_region(pixels, points, size):
    """Which parts are visible and among the `size` highest pixels (no two are equal)."""
    cut = np.sort(pixels.ravel())[-size]
    return [v > 0 and pixels[int(y), int(x)] >= cut for x, y, v in points]


def counted(marked, true, visible):
    hits = sum(m and t for m, t in zip(marked, true, strict=True))
    recall = hits / sum(true)
    precision = hits / sum(marked) if sum(marked) else np.nan
    harmonic = 2 * precision * recall / (precision + recall) if hits else 0.0
    return recall, precision, harmonic, precision - sum(true) / sum(visible)


def overlap(first, second, both):
    q = {p for p in range(P) if first[p] and both[p]}
    c = {p for p in range(P) if second[p] and both[p]}
    return len(q & c) / len(q | c) if q and c else np.nan


@pytest.mark.oracle
def test_equals_a_count_in_plain_python():
    world = random_world()
    rows = list(range(12))
    classes = [[b % N, (b + 1 + b // N % 2) % N] for b in rows]
    scores = world.score(rows, classes, percentile=60.0)
    values, maps = scores.values, world.maps(rows, torch.tensor(classes)).numpy()
    T = np.percentile(world.dataset.parts.differences, 60)
    noted = 0
    for b, (own, rival) in enumerate(classes):
        points, visible = world.points[b], [v > 0 for v in world.points[b, :, 2]]
        true = [v and world.dataset.parts.differences[own, rival, p] > T for p, v in enumerate(visible)]
        if not any(true):
            assert scores.notes[b].kind is Kind.EXCLUDED
            assert all(value[b].isnan().all() for value in values.values())
            noted += 1
            continue
        assert scores.notes[b] is None
        theirs = world.points[rival]  # the first image of class c is image c
        their_map = world.maps([rival], torch.tensor([[rival, own]]))[0, 0].numpy()
        both = [v and w > 0 for v, w in zip(visible, theirs[:, 2], strict=True)]
        sizes = [1, 3, 16, 32]
        expected = [counted(in_region(maps[b, 0], points, size), true, visible) for size in sizes]
        piou = [overlap(in_region(maps[b, 0], points, s), in_region(their_map, theirs, s), both) for s in sizes]
        for name, column in (("recall_at", 0), ("precision_at", 1), ("f1_at", 2)):
            found = values[name][b].tolist()
            assert found == pytest.approx([row[column] for row in expected], nan_ok=True), name
        assert values["piou_at"][b].tolist() == pytest.approx(piou, nan_ok=True)
        assert values["base_rate"][b].item() == pytest.approx(sum(true) / sum(visible))
        assert values["f1"][b].item() == pytest.approx(np.mean([row[2] for row in expected]))
        lifts = [row[3] for row in expected if not np.isnan(row[3])]
        assert values["lift"][b].item() == pytest.approx(np.mean(lifts) if lifts else np.nan, nan_ok=True)
        pious = [one for one in piou if not np.isnan(one)]
        assert values["piou"][b].item() == pytest.approx(np.mean(pious) if pious else np.nan, nan_ok=True)
    assert 0 < noted < 6
    assert 0 < values["piou"].nanmean() < 1


def test_the_precision_of_random_maps_is_the_base_rate():
    generator = torch.Generator().manual_seed(0)
    world = one_image([[1.5, 2.5, 1], [6.5, 0.5, 1], [3.5, 7.5, 1], [5.5, 5.5, 1]], [1, 0, 1, 1])
    B = 3000
    world.items = world.items[:1] * B
    maps = torch.rand(B, 2, SIDE, SIDE, generator=generator)
    scores = score(
        linear_view(LinearNet(torch.ones(N, 3, SIDE, SIDE)), torch.zeros(B, 3, SIDE, SIDE)),
        torch.tensor([[0, 1]]).expand(B, 2),
        maps,
        percent=(10.0, 50.0),
        explain=world.explain,
        truth=world.truth(range(B)),
        example=lambda u: None,
    ).values
    precision = scores["precision_at"]
    assert (scores["base_rate"] == 0.75).all()
    assert precision.nanmean(0).tolist() == pytest.approx([0.75, 0.75], abs=0.03)
    assert scores["recall_at"].mean(0).tolist() == pytest.approx([0.1, 0.5], abs=0.03)
    assert abs(scores["lift"].nanmean().item()) < 0.02


def test_what_two_images_mark_together_is_the_same_from_either_side():
    """Image 0 of class 0 and image 1 of class 1 are each other's example."""
    world = random_world(3)
    world.points[:2, :, 2] = 1
    there = world.score([0], [[0, 1]], percentile=0.0).values["piou_at"]
    back = world.score([1], [[1, 0]], percentile=0.0).values["piou_at"]
    assert torch.equal(there.nan_to_num(-1), back.nan_to_num(-1))
    assert there.nanmean() > 0
    assert world.explained == [([1], [[1, 0]]), ([0], [[0, 1]])]


def test_examples_are_the_first_of_the_rival_and_read_once_for_all_methods():
    world = random_world()
    rows, classes = [0, 1, 5, 4], [[0, 2], [1, 2], [2, 0], [1, 2]]
    view, memory = world.view(rows), Memory()
    first = world.score(rows, classes, view=view, memory=memory)
    again = world.score(rows, classes, view=view, memory=memory)
    assert world.asked == [0, 2]
    assert world.explained == [([2, 2, 0, 2], [[2, 0], [2, 1], [0, 2], [2, 1]])] * 2
    assert torch.equal(first.values["piou_at"].nan_to_num(-1), again.values["piou_at"].nan_to_num(-1))


def test_without_an_image_of_the_rival_there_is_no_piou_and_all_else():
    world = random_world()
    whole = world.score([0, 1], [[0, 1], [1, 2]], percentile=0.0).values
    world.items[:] = [item if item.labels != (1,) else Item(item.key, (0,)) for item in world.items]
    values = world.score([0, 1], [[0, 1], [1, 2]], percentile=0.0).values
    assert values["piou_at"][0].isnan().all()
    assert torch.equal(values["piou_at"][1].nan_to_num(-1), whole["piou_at"][1].nan_to_num(-1))
    assert values["f1"].isfinite().all()
    world.items[:] = [Item(item.key, (0,)) for item in world.items]
    assert world.score([0], [[0, 1]], percentile=0.0).values["piou"].isnan().all()


def test_a_blank_map_has_no_score_and_that_of_an_example_no_piou():
    world = random_world()
    maps = world.maps([0, 1], torch.tensor([[0, 1], [1, 0]]))
    maps[0, 0] = -1.0
    scores = world.score([0, 1], [[0, 1], [1, 0]], maps, percentile=0.0)
    assert [note and note.kind for note in scores.notes] == [Kind.BLANK, None]
    assert scores.values["f1"].isnan().tolist() == [True, False]
    world.explain = lambda view, classes: torch.zeros(len(view), 2, SIDE, SIDE)
    scores = world.score([0, 1], [[0, 1], [1, 0]], percentile=0.0)
    assert scores.notes == [None, None]
    assert scores.values["piou_at"].isnan().all()
    assert scores.values["f1"].isfinite().all()


def test_classes_that_differ_in_no_visible_part_or_by_nobody_knows_what_are_excluded():
    hidden = [[x, y, p != 1] for p, (x, y, _) in enumerate(CORNERS)]
    world = one_image(hidden, [0, 1, 0, 0])
    world.dataset.parts.differences[0, 2] = np.nan
    scores = world.score([0, 0], [[0, 1], [0, 2]])
    assert [note.kind for note in scores.notes] == [Kind.EXCLUDED] * 2
    assert "no visible part" in scores.notes[0].why
    assert "not known" in scores.notes[1].why


def zeros_and_ones(share, P=40):
    rng = np.random.default_rng(0)
    values = (rng.random((6, 6, P)) < share).astype(float)
    values[range(6), range(6)] = 0
    return values


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("percentile", [0.0, 20.0, 99.0])
def test_of_differences_0_and_1_the_ones_count(share, percentile):
    values = zeros_and_ones(share)
    assert ((values > threshold(values, percentile)) == (values == 1)).all()


def test_t_is_scouts_percentile_of_all_that_is_known():
    """Of CUB-200's 200 x 200 x 15 entries, the zeros of a class and itself among them."""
    rng = np.random.default_rng(0)
    values = rng.random((40, 40, 15))
    values[range(40), range(40)] = 0
    assert threshold(values, 20.0) == pytest.approx(np.percentile(values, 20))
    known = values[:30, :30]
    holes = np.full((40, 40, 15), np.nan)
    holes[:30, :30] = known
    assert threshold(holes, 35.0) == pytest.approx(np.percentile(known, 35))
    apart = ~np.eye(40, dtype=bool)
    assert (values > threshold(values, 20.0))[apart].mean() == pytest.approx(0.8 * 40 / 39, abs=1e-3)


@pytest.mark.parametrize("values", [np.zeros((2, 2, 3)), np.full((2, 2, 3), np.nan)])
def test_where_nothing_differs_nothing_counts(values):
    assert not (values > threshold(values, 20.0)).any()


@pytest.fixture(scope="module")
def photographs():
    """Black pictures of unlike shapes with three spots: at the first part, at the second, and far at the left edge."""
    sizes, pictures, points = [(300, 160), (150, 260), (210, 200)], [], []
    for index, (width, height) in enumerate(sizes):
        spots = [(0.35 * width + 7 * index, 0.3 * height), (0.6 * width, 0.7 * height), (0.02 * width, 0.02 * height)]
        pixels = np.zeros((height, width, 3))
        row, column = np.mgrid[:height, :width]
        for (x, y), brightness in zip(spots, (255, 120, 200), strict=True):
            away = np.hypot(column - int(x), row - int(y))[..., None]
            pixels = np.maximum(pixels, (brightness - 4 * away) * (away < min(width, height) / 16))
        pictures.append(Image.fromarray(pixels.astype(np.uint8)))
        points.append([[int(x) + 0.5, int(y) + 0.5, 1] for x, y in spots] + [[0, 0, 0]])
    return pictures, points


def test_points_land_on_the_pixels_they_mark_in_pictures_of_any_shape(photographs):
    """The map is the picture as the model sees it: the brightest spot is the first part, the next the second."""
    pictures, points = photographs
    world = one_image(points[0], [1, 0, 0, 0])
    world.points = np.asarray(points)
    transform = create_transform((3, 64, 64), crop_pct=0.875, is_training=False, mean=(0, 0, 0), std=(1, 1, 1))
    images = torch.stack([transform(picture) for picture in pictures])
    items = [Item(str(b), (0,)) for b in range(3)]

    def truth(rows):
        sizes = [pictures[row].size for row in rows]
        return Truth(world.dataset, [items[row] for row in rows], sizes, transform, torch.device("cpu"))

    scores = score(
        linear_view(LinearNet(torch.ones(N, 3, 64, 64)), images),
        torch.tensor([[0, 1]]).expand(3, 2),
        images[:, :2],
        percent=(0.25, 5.0),
        explain=lambda view, classes: view.images[:, :2],
        truth=truth(range(3)),
        example=lambda u: (images[u], truth([u])),
    )
    values = scores.values
    assert values["base_rate"].tolist() == [0.5, 0.5, 0.5]  # the third spot is cropped away
    assert values["recall_at"].tolist() == [[1, 1]] * 3
    assert values["precision_at"][:, 0].tolist() == [1, 1, 1]
    assert values["precision_at"][:, 1].tolist() == [0.5, 0.5, 0.5]
    assert values["piou_at"][:, 0].tolist() == [1, 1, 1]


def test_the_metrics_are_those_of_the_question():
    assert set(random_world().score([0], [[0, 1]]).values) == set(QUESTIONS["counterfactual"].metrics)


def test_the_rival_is_the_likeliest_class_or_one_at_random():
    assert roles(rival="likeliest") == (TOP1, TOP2)
    assert parse_question("counterfactual").roles == (TOP1, TOP2)
    assert parse_question("counterfactual:rival=random").roles == (TOP1, RANDOM)


@pytest.mark.parametrize("wrong", ["percentile=100", "percentile=-1", "percent=0", "percent=5+5"])
def test_parameters_that_make_no_sense_are_one_line(wrong):
    with pytest.raises(SalcheckError, match="percent"):
        parse_question(f"counterfactual:{wrong}")


def test_a_dataset_without_parts_says_which_have_them():
    world = random_world()
    object.__setattr__(world.dataset, "parts", None)
    with pytest.raises(SalcheckError, match="cub or puppets"):
        world.score([0], [[0, 1]])
