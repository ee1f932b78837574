"""What the engine gives a diagnostic, and what it stores of what comes back: a diagnostic tells what it was given."""

import dataclasses
import pickle
from pathlib import Path
from types import SimpleNamespace

import cloudpickle
import pytest
import torch
from PIL import Image

from salcheck.datasets import Dataset, Item, Region
from salcheck.diagnostics import Scores
from salcheck.errors import SalcheckError
from salcheck.inputs.loader import batches
from salcheck.inputs.sample import image_seed
from salcheck.methods import parse_methods
from salcheck.naming import registry
from salcheck.network.loading import load_model
from salcheck.questions import LABEL1, LABEL2, QUESTIONS, RANDOM, TOP1, TOP2, Metric, Question
from salcheck.runs import evaluate as engine
from salcheck.runs import plan
from salcheck.runs.asking import parse_question
from salcheck.runs.rows import Task
from salcheck.runs.shard import score_shard
from salcheck.store.results import Store
from tests.elsewhere import run
from tests.makers import save_model

ROWS = """
SELECT images.key AS key, methods.spec AS method, metric, level, value, note FROM scores
JOIN images ON images.id = image_id JOIN methods ON methods.id = method_id ORDER BY 1, 2, 3, 4
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    made = tmp_path_factory.mktemp("made")
    save_model(made / "model", side=128)
    return load_model(f"local-dir:{made / 'model'}", device="cpu")


def pictures(count=6, labels=lambda index: (index % 7, (index + 3) % 7)):
    items = [Item(f"image-{index}", labels(index)) for index in range(count)]

    def read(item):
        shade = 30 * int(item.key.rpartition("-")[2])
        return Image.new("RGB", (256, 128), (shade, 255 - shade, 90))

    return Dataset("made", "", items, read, regions=lambda item: [Region(item.labels[0], box=(64, 0, 192, 128))])


@pytest.fixture
def ask(model, tmp_path, monkeypatch):
    """Asks a question whose diagnostic is the functions given here."""

    def run(data=None, roles=(TOP1,), methods="gradcam", seed=0, n=6, batch_size=4, **functions):
        fake = SimpleNamespace(**functions)
        real = registry.load
        monkeypatch.setattr(
            registry, "load", lambda kind, name: fake if (kind, name) == ("diagnostics", "fake") else real(kind, name)
        )
        monkeypatch.setattr(registry, "source_of", lambda shelf, name: Path(__file__))
        question = Question(
            "fake", "Fake?", "fake", roles, "told", {"told": Metric("what was told")}, "", "here", parameters={}
        )
        held = Dataset("held", "", [], lambda item: None)
        request = plan.Request(
            data or pictures(),
            n=n,
            seed=seed,
            reference_data=held,
            correct_only=False,
            batch_size=batch_size,
            command="test",
        )
        made = plan.make_run(question, model, parse_methods([methods]), request, tmp_path / "cache")
        with Store(str(tmp_path / "scores.db")) as store:
            engine.evaluate(made, store, tmp_path / "cache")
            rows = store.query(ROWS)
            roles = set(store.query("SELECT DISTINCT role FROM maps")["role"])
        return made, rows, roles

    return run


def told(values):
    return Scores({"told": values.float()}, [None] * len(values))


def test_roles_by_label_are_the_annotation_s_classes_in_their_order(ask):
    def score(view, classes, maps):
        return told(10 * classes[:, 0] + classes[:, 1])

    _, rows, roles = ask(roles=(LABEL2, LABEL1), score=score)
    own = rows[rows["method"] == "gradcam"]
    assert list(own["value"]) == [10 * ((i + 3) % 7) + i % 7 for i in range(6)]
    assert roles == {"label1", "label2"}


def test_an_image_with_too_few_labels_is_left_out_by_name(ask):
    data = pictures(labels=lambda index: (1,) if index else (1, 2))
    _, rows, _ = ask(data, roles=(LABEL1, LABEL2), score=lambda view, classes, maps: told(classes[:, 0]))
    own = rows[rows["method"] == "gradcam"]
    assert own["note"].isna().tolist() == [True] + [False] * 5
    assert set(own["note"].dropna()) == {"it has too few labels"}


def test_no_map_of_a_class_that_an_image_does_not_have_is_kept_for_another_question(ask):
    """VOC's and COCO's images show one class or several: those of one have no second map, and their first is theirs."""
    data = pictures(labels=lambda index: (1 + index % 3,) if index % 2 else (1 + index % 3, 5))

    def score(view, classes, maps, *, explain):
        assert torch.allclose(maps, explain(view, classes), atol=1e-6)
        return told(classes[:, 0])

    ask(data, roles=(LABEL1, LABEL2), score=score)
    _, rows, _ = ask(data, roles=(LABEL1,), score=score)
    assert rows[rows["method"] == "gradcam"]["value"].notna().sum() >= 6


def test_a_random_class_is_none_of_the_image_s_and_the_same_for_a_seed(ask):
    seen = []

    def score(view, classes, maps):
        seen.append(classes)
        return told(classes[:, 1])

    made, rows, roles = ask(roles=(TOP1, RANDOM), score=score)
    drawn = dict(zip(rows["key"], rows["value"], strict=True))
    top = {}
    for item in made.dataset.items:
        image = made.model.transform(made.dataset.read(item))[None]
        top[item.key] = int(made.model.net(image).argmax())
    for item in made.dataset.items:
        assert drawn[item.key] not in {*item.labels, top[item.key]}
    assert len(set(drawn.values())) > 1
    assert roles == {"top1", "random-0"}
    assert made.parameters["roles"] == ["top1", "random-0"]
    again, rows, roles = ask(roles=(TOP1, RANDOM), seed=1, score=score)
    assert roles == {"top1", "random-0", "random-1"}
    assert again.key != made.key


def test_truth_lies_where_the_model_sees_it(ask):
    def score(view, classes, maps, *, truth):
        masks = truth.masks(classes)
        assert masks.shape == (len(view), 1, 128, 128)
        assert [item.key for item in truth.items] == [item.key for item in truth.part(range(len(view))).items]
        return told(masks.flatten(1).float().mean(1))

    data = pictures(labels=lambda index: (index % 7,))
    _, rows, _ = ask(data, roles=(LABEL1,), score=score)
    assert set(rows["value"].round(3)) == {1.0}  # the middle half of twice as wide a picture is all that is seen


def test_a_broken_annotation_is_a_note_on_its_image_and_no_more(ask):
    def regions(item):
        if item.key == "image-3":
            raise SalcheckError("'3.xml' is cut short: fetch it again")
        return [Region(item.labels[0], box=(64, 0, 192, 128))]

    def score(view, classes, maps, *, truth):
        return told(truth.masks(classes).flatten(1).float().mean(1))

    _, rows, _ = ask(dataclasses.replace(pictures(), regions=regions), roles=(LABEL1,), score=score)
    own = rows[rows["method"] == "gradcam"].set_index("key")
    assert own["note"].dropna().to_dict() == {"image-3": "'3.xml' is cut short: fetch it again"}
    assert own["value"].notna().sum() == 5


def test_a_dataset_that_knows_no_places_is_refused_before_anything_is_done(ask):
    def score(view, classes, maps, *, truth):
        raise AssertionError("asked")

    with pytest.raises(SalcheckError, match="made does not say where its objects are"):
        ask(dataclasses.replace(pictures(), regions=None), score=score)


def test_an_image_of_a_few_pixels_is_a_note_on_it(ask):
    data = pictures()
    read = data.read
    data = dataclasses.replace(
        data, read=lambda item: Image.new("RGB", (1, 40)) if item.key == "image-2" else read(item)
    )
    _, rows, _ = ask(
        data,
        roles=(LABEL1,),
        score=lambda view, classes, maps, *, truth: told(truth.masks(classes).flatten(1).sum(1)),
    )
    own = rows[rows["method"] == "gradcam"].set_index("key")
    assert "too small to say where its objects land" in own["note"]["image-2"]
    assert own["value"].notna().sum() == 5


def test_images_can_be_made_of_those_of_a_dataset(ask, model):
    seen = {}

    def prepare(dataset, model, n, seed, batch_size, cache, progress, **parameters):
        seen.update(n=n, seed=seed, batch_size=batch_size, given=len(dataset))
        return dataclasses.replace(dataset, name="made of made", items=dataset.items[:2])

    made, rows, _ = ask(score=lambda view, classes, maps: told(classes[:, 0]), prepare=prepare)
    assert seen == {"n": 6, "seed": 0, "batch_size": 4, "given": 6}
    assert made.dataset.name == "made of made"
    assert set(rows["key"]) == {item.key for item in made.items}
    assert len(made.items) == 2


def test_other_models_see_the_same_images_each_with_a_level(ask, model):
    other = model.at("layer2")

    def score(view, classes, maps, *, subjects):
        assert [one.name for one in subjects] == ["here", "elsewhere"]
        assert torch.equal(subjects[0].explain(subjects[0].view, classes), maps)
        assert subjects[1].explain(subjects[1].view, classes).shape[-1] > maps.shape[-1]
        shown = torch.stack([one.view.images.flatten(1).mean(1) for one in subjects], 1)
        assert torch.equal(shown[:, 0], shown[:, 1])
        return Scores({"told": shown}, [None] * len(view), [1.0, 2.0])

    made, rows, _ = ask(
        methods="lafam", score=score, subjects=lambda model, **parameters: {"here": model, "elsewhere": other}
    )
    assert made.parameters["levels"] == ["here", "elsewhere"]
    assert set(rows["level"]) == {1.0, 2.0}


def test_an_example_of_a_class_is_the_first_image_that_shows_it(ask):
    data = pictures(labels=lambda index: (index % 3,))

    def score(view, classes, maps, *, example):
        image, truth = example(2)
        assert truth.items[0].key == "image-2"
        assert image.shape == view.images.shape[1:]
        assert example(6) is None
        return told(classes[:, 0])

    ask(data, score=score)


def test_what_a_method_says_of_itself_is_asked_by_name(ask):
    def score(view, classes, maps, *, told):
        assert told("distance", view, classes) is None
        return Scores({"told": classes[:, 0].float()}, [None] * len(view))

    ask(score=score, methods="lafam")


def test_a_question_of_the_model_itself_takes_no_method(ask):
    def score(view, classes, maps):
        assert classes.shape == (len(view), 0)
        assert maps.shape[:2] == (len(view), 0)
        return told(view.acts.flatten(1).mean(1))

    made, rows, roles = ask(roles=(), score=score)
    assert [method.name for method in made.methods] == ["model"]
    assert set(rows["method"]) == {"model"}
    assert rows["value"].notna().all()
    assert roles == set()


def test_maps_against_a_rival_are_kept_apart_from_those_against_another(ask):
    def score(view, classes, maps, *, explain):
        assert torch.allclose(maps, explain(view, classes), atol=1e-6)
        return told(classes[:, 0])

    for roles in ((TOP1,), (TOP1, RANDOM), (TOP1, TOP2), (LABEL1, TOP1), (TOP1, RANDOM)):
        _, _, stored = ask(roles=roles, methods="difference,gradcam", score=score)
    assert {"top1", "top2", "top1 against random-0", "random-0 against top1", "top1 against top2"} < stored


def test_a_standing_control_with_other_parameters_keeps_none_out():
    methods = parse_methods(["gradcam,center:sigma=0.02,random"])
    specs = [method.spec for method in plan.joined(methods, QUESTIONS["rq1"])]
    assert sorted(specs) == ["center", "center:sigma=0.02", "edges", "gradcam", "random"]


def test_floors_join_as_controls_do(model):
    localization = QUESTIONS["localization"]
    names = [method.name for method in plan.joined(parse_methods(["gradcam"]), localization)]
    assert names[:2] == ["gradcam", "lafam"]
    assert {"random", "center", "edges"} <= set(names)
    assert [method.name for method in plan.joined(parse_methods(["lafam"]), localization)].count("lafam") == 1


def test_the_image_that_follows_is_the_next_of_the_order_whatever_the_batch_and_the_number(ask, model, tmp_path):
    """Of the last one that is asked for, the next of the whole draw; of the last one of that, the first."""
    found = {}

    def score(view, classes, maps, *, following):
        shades = following().images.flatten(1).mean(1)
        found.update({seed: float(shade) for seed, shade in zip(view.seeds, shades, strict=True)})
        assert following() is following()
        return told(shades)

    for n, batch_size in ((6, 4), (3, 2), (6, 1)):
        found.clear()
        (tmp_path / "scores.db").unlink(missing_ok=True)
        made, _, _ = ask(score=score, n=n, batch_size=batch_size)
        order = [*made.items, *made.rest]
        assert len(order) == 6
        shade = {item.key: float(model.transform(made.dataset.read(item)).mean()) for item in order}
        expected = [shade[order[(place + 1) % 6].key] for place in range(n)]
        assert [found[image_seed(0, item.key)] for item in order[:n]] == pytest.approx(expected, abs=1e-5)


def test_where_the_next_image_cannot_be_read_the_one_after_it_follows(ask, model):
    data = pictures()
    whole = data.read

    def read(item):
        if item.key == "image-3":
            raise SalcheckError("cut short")
        return whole(item)

    seen = []

    def score(view, classes, maps, *, following):
        seen.extend(following().images.flatten(1).mean(1).tolist())
        return told(classes[:, 0])

    made, _, _ = ask(dataclasses.replace(data, read=read), score=score, methods="lafam")
    readable = [item for item in made.items if item.key != "image-3"]
    shades = [float(model.transform(whole(item)).mean()) for item in readable]
    assert seen[: len(shades)] == pytest.approx([*shades[1:], shades[0]], abs=1e-5)


def test_a_shard_is_scored_in_another_process(model, tmp_path):
    """A run, images and stored maps go in, rows come out: no database, no cache, nothing shared."""
    held = Dataset("held", "", [], lambda item: None)
    question = parse_question("rq1")
    request = plan.Request(pictures(), n=3, reference_data=held, correct_only=False)
    made = plan.make_run(question, model, parse_methods(["gradcam,layercam"]), request, tmp_path)
    (chunk,) = batches(model, made.dataset, made.items, 3)
    task = Task(made.items, made.methods, first=True)
    here = score_shard(made, task, chunk, {})
    maps = {(one.method.key, key): one.maps[b] for one in here.maps for b, key in enumerate(one.images)}
    for stored, new in (({}, len(here.maps)), (maps, 0)):
        work = tmp_path / "work"
        work.write_bytes(cloudpickle.dumps((score_shard, made, task, chunk, stored)))
        code = "import pickle, sys; call, *rest = pickle.load(open(sys.argv[1], 'rb')); rows = call(*rest)\n"
        code += "import cloudpickle; open(sys.argv[1] + '.out', 'wb').write(cloudpickle.dumps(rows))"
        assert run(code, work) == (0, "", "")
        there = pickle.loads(Path(f"{work}.out").read_bytes())
        assert there.scores == here.scores and there.predictions == here.predictions
        assert len(there.maps) == new
