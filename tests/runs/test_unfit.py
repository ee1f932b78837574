"""A method that cannot be used, or fails, loses nothing but its own numbers."""

import pytest

from salcheck.errors import SalcheckError
from salcheck.methods import UnfitError
from salcheck.store.results import Store
from tests.calls import refused, run
from tests.makers import save_images, save_model

MINE = '''"""Mine."""

from salcheck.methods import gradcam


def saliency(view, classes):
    """Maps."""
    {body}
    return gradcam.saliency(view, classes)
'''


@pytest.fixture
def vit(tmp_path):
    """A model whose head reads a class token, which CAM does not fit."""
    return save_model(tmp_path / "vit", "test_vit", side=160)


@pytest.fixture
def toy(tmp_path):
    return save_model(tmp_path / "toy")


@pytest.fixture
def images(tmp_path):
    return save_images(tmp_path / "images")


def scored(metric_of="rq1"):
    """How many numbers and notes each method has."""
    with Store("salcheck.db") as store:
        rows = store.query(
            "SELECT method, COUNT(value) AS numbers, COUNT(note) AS notes FROM all_scores"
            " WHERE question = :question AND metric <> 'tied' GROUP BY method",
            question=metric_of,
        )
    return {method: (numbers, notes) for method, numbers, notes in rows.itertuples(index=False)}


def asked(arch, images, methods, *rest, questions=("rq1",), code=0):
    call = ("eval", *questions, "--arch", arch, "--data", images, "-n", 4, "--batch-size", 2, "--all-images", *rest)
    return run(*call, "-m", methods, code=code).stderr


def test_an_unfit_method_in_a_list_is_left_out_with_its_true_reason(vit, images):
    said = asked(vit, images, "cam,gradcam,lafam", questions=("rq1", "rq2:percent=5"), code=1)
    assert said.count("cam is left out: this model's head is not mean pooling and one linear layer") == 2
    assert said.splitlines()[-1] == "salcheck: left out: cam"
    for question in ("rq1", "rq2"):
        found = scored(question)
        assert "cam" not in found
        assert {"gradcam", "lafam", "random"} <= set(found)


def test_alone_it_is_an_error_and_so_are_several_of_which_none_fits(vit, images):
    call = ("eval", "rq1", "--arch", vit, "--data", images, "-n", "4", "--all-images", "-m")
    assert refused(*call, "cam").startswith("cannot use cam: this model's head is not")
    assert refused(*call, "cam,scout:confidence=nonsense").startswith("scout:confidence")
    assert refused(*call, "cam,mine:x=1").startswith("unknown method")


def test_a_method_whose_references_cannot_be_built_keeps_no_other_from_its_scores(toy, images, tmp_path):
    nowhere = f"diffcam:group=images:{tmp_path / 'nowhere'}"
    said = asked(toy, images, f"{nowhere},gradcam,diffcam:z=token", code=1)
    assert f"{nowhere} is left out: no folder" in said
    assert "diffcam:z=token is left out: z=token reads the class token" in said
    assert {"gradcam", "random"} <= set(scored())


def test_a_method_that_fails_on_one_image_has_a_note_on_it(toy, images, tmp_path):
    mine = tmp_path / "mine.py"
    bad = "seeds = set(view.seeds)\n    if {} in seeds:\n        raise ZeroDivisionError('no such channel')"
    mine.write_text(MINE.format(body=bad.format(_third_seed(toy, images))))
    asked(toy, images, f"{mine},gradcam")
    assert scored()["gradcam"] == (4, 0)
    assert scored()["mine"] == (3, 1)
    with Store("salcheck.db") as store:
        (note,) = store.query("SELECT note FROM all_scores WHERE kind = 'failed'")["note"]
    assert note == "it fails with ZeroDivisionError: no such channel (mine.py:10)"


def _third_seed(toy, images):
    from salcheck.inputs.opening import open_data
    from salcheck.inputs.sample import image_seed
    from salcheck.network.loading import load_model
    from salcheck.runs.plan import Request, split

    data = open_data("folder", images, load_model(toy, device="cpu"), 0)
    return image_seed(0, split(Request(data, 4)).order[2].key)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("raise ZeroDivisionError('no such channel')", "it fails with ZeroDivisionError: no such channel"),
        ("return gradcam.saliency(view, classes)[:, :1]", "method mine breaks the contract"),
    ],
)
def test_a_method_that_fails_on_every_image_is_left_out_and_stores_nothing(toy, images, tmp_path, body, why):
    (tmp_path / "mine.py").write_text(MINE.format(body=body))
    said = asked(toy, images, "./mine.py,gradcam", code=1)
    assert f"./mine.py is left out: {why}" in said
    assert "mine" not in scored()
    assert scored()["gradcam"] == (4, 0)
    with pytest.raises(SalcheckError, match=why):
        asked(toy, images, "./mine.py")


def test_a_full_disk_is_no_failure_of_the_method(toy, images, tmp_path):
    (tmp_path / "mine.py").write_text(MINE.format(body="raise OSError(28, 'No space left on device')"))
    with pytest.raises(OSError, match="No space left"):
        asked(toy, images, "./mine.py,gradcam")


def test_explain_leaves_an_unfit_method_out_too(vit, images):
    picture = next(images.rglob("*.png"))
    made = run("explain", picture, "--arch", vit, "-m", "cam,gradcam,lafam", code=1)
    assert "cam is left out: this model's head is not mean pooling" in made.stdout + made.stderr
    assert "gradcam" in made.stdout
    assert refused("explain", picture, "--arch", vit, "-m", "cam").startswith("cannot use cam: ")


def test_explain_shows_the_maps_of_the_others_where_a_method_fails_on_an_image(toy, images, tmp_path):
    pictures = sorted(images.rglob("*.png"))[:3]
    bright = image_means(toy, pictures)
    body = f"if float(view.images.mean((1, 2, 3)).max()) >= {max(bright)}: raise KeyError('no such channel')"
    (tmp_path / "mine.py").write_text(MINE.format(body=body))
    made = run("explain", *pictures, "--arch", toy, "-m", "./mine.py,gradcam", code=1)
    assert made.stderr.count("by ./mine.py: it fails with KeyError: 'no such channel'") == 1
    assert made.stdout.count("gradcam") >= 3
    assert len(list(tmp_path.glob("*mine*.png"))) == 2
    assert len(list(tmp_path.glob("*gradcam.png"))) == 3
    assert run("explain", pictures[bright.index(max(bright))], "--arch", toy, "-m", "./mine.py", code=1)


def image_means(arch, pictures):
    from salcheck.datasets._images import read_image
    from salcheck.network.loading import load_model

    model = load_model(arch, device="cpu")
    return [float(model.batch([model.transform(read_image(file))]).mean((1, 2, 3)).max()) - 1e-6 for file in pictures]


def test_an_unfit_method_travels_between_processes():
    import pickle

    error = pickle.loads(pickle.dumps(UnfitError("cannot use x: y", "key", "y")))
    assert (str(error), error.key, error.reason) == ("cannot use x: y", "key", "y")
