"""A model of one channel: every method explains it and every question is asked of it, as of any other."""

import timm
import torch

from salcheck.inputs.mosaics import Tile, mosaics
from salcheck.inputs.opening import open_all
from salcheck.methods import every, parse_method
from salcheck.network.loading import load_model
from salcheck.network.settings import Settings
from salcheck.questions import QUESTIONS
from salcheck.runs.asking import parse_question
from salcheck.runs.evaluate import evaluate
from salcheck.runs.explain import explain
from salcheck.runs.plan import Request, make_run
from salcheck.store.results import Store
from tests.makers import save_images

SMALL = {
    "rise": "rise:masks=8",
    "smoothgrad": "smoothgrad:samples=2",
    "integratedgradients": "integratedgradients:steps=2",
}
FILLS = [f"rq2:percent=20,fill={fill}" for fill in ("mean", "zero", "grey", "blur", "inpaint")]
# They need places or parts that class folders do not know, another model, or a model that knows its classes.
LEFT_OUT = {"localization", "scenes", "counterfactual", "sanity", "mosaic"}
SHORT = {"deletion": "steps=2", "insertion": "steps=2", "stability": "", "sensitivity": "", "road": ""}


def grey(tmp_path):
    torch.manual_seed(0)
    net = timm.create_model("test_resnet", in_chans=1, num_classes=3, zero_init_last=False)
    torch.save(net.state_dict(), tmp_path / "grey.pth")
    settings = Settings(img_size=(48, 48))
    return load_model("test_resnet", checkpoint=tmp_path / "grey.pth", device="cpu", settings=settings)


def test_every_method_explains_a_model_of_one_channel(tmp_path):
    from salcheck import references
    from salcheck.methods import fitting

    model = grey(tmp_path)
    opened = open_all(
        "folder", save_images(tmp_path / "a", 3, 3, 48), save_images(tmp_path / "b", 3, 3, 48, 1), model, 0
    )
    methods = [parse_method(SMALL.get(method.name, method.name)) for method in every()]
    methods, notes = fitting(methods, opened.model, opened.reference)
    needs = [need for method in methods for need in method.needs]
    held = references.build(needs, opened.model, opened.reference, tmp_path / "cache").values
    pictures = [tmp_path / "a" / "0" / "0.png", tmp_path / "a" / "1" / "1.png"]
    results = list(explain(opened.model, pictures, methods, ["top1", "top2"], held))
    assert not notes
    assert len(methods) == len(every())
    for found in results:
        assert found.picture.shape == (48, 48, 3)
        for method in methods:
            assert found.maps[method.typed].isfinite().all(), method.spec


def test_every_question_is_asked_of_a_model_of_one_channel(tmp_path):
    model = grey(tmp_path)
    opened = open_all("folder", save_images(tmp_path / "a", 3, 8, 48), None, model, 0)
    asked = [name for name in QUESTIONS if name not in LEFT_OUT]
    texts = [f"{name}:{SHORT[name]}".rstrip(":") if name in SHORT else name for name in asked]
    with Store(str(tmp_path / "a.db")) as store:
        for text in [*texts, *FILLS, "intraclass:plant=patch", "intraclass:plant=gap"]:
            request = Request(opened.dataset, n=3, correct_only=False, batch_size=2)
            run = make_run(parse_question(text), opened.model, [parse_method("gradcam")], request, tmp_path / "cache")
            number = evaluate(run, store, tmp_path / "cache")
            failed = store.query("SELECT note FROM scores WHERE run_id = :run AND kind = 'failed'", run=number)
            assert failed.empty, (text, list(failed["note"]))


def test_a_mosaic_shows_grey_photographs_as_the_model_sees_them_alone(tmp_path):
    model = grey(tmp_path)
    data = open_all("folder", save_images(tmp_path / "a", 3, 1, 48), None, model, 0).dataset
    tiles = [Tile(item, item.labels[0]) for item in data.items[:2]]
    made = mosaics(data, [tiles], model, 2)
    seen = model.picture(model.transform(made.read(made.items[0])))
    for tile, left in zip(tiles, (0, 24), strict=True):
        alone = model.picture(model.transform(data.read(tile.item))).permute(2, 0, 1)
        small = torch.nn.functional.interpolate(alone[None], (24, 24), mode="bicubic", antialias=True)[0]
        assert (seen[12:36, left : left + 24].permute(2, 0, 1) - small).abs().mean() < 0.02
