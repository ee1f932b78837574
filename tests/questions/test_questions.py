"""Every row of the table of questions, asked through the whole engine of a tiny model."""

import pytest
import torch

from salcheck.errors import SalcheckError
from salcheck.methods import UnfitError, gradcam
from salcheck.questions import QUESTIONS
from salcheck.report.build import make_report
from salcheck.runs.asking import Asked, answer_all, parse_question, variants
from salcheck.store.results import Store
from tests.makers import save_images, save_model
from tests.runs.test_evaluate import Bench

QUICKER = {
    "sanity": "parts=3",
    "layers": "at=layer2+features",
    "channels": "at=layer2+features",
    "stability": "changes=flip+noise",
    "counterfactual": "percent=5+20",
    "mosaic": "confidence=0",
    "deletion": "steps=3",
    "insertion": "steps=3",
    "quality": "steps=2",
    "infidelity": "samples=5",
    "sensitivity": "samples=2",
    "faithfulness-correlation": "samples=6",
}
ASKED = [f"{name}:{QUICKER[name]}" if name in QUICKER else name for name in QUESTIONS]
DRAWN = {  # questions of where things are, and the built-in model whose dataset knows
    **dict.fromkeys(("localization", "mosaic", "scenes", "intraclass"), "scenes"),
    "counterfactual": "puppets",
}
METHODS = {"completeness": "hirescam", "intraclass": "diffcam:group=same"}  # that have an answer
UNASKED = {f"{name}_labels" for name in ("spearman_abs", "spearman", "ssim")}  # without a model of permuted labels
TOLD = "SELECT DISTINCT metric FROM scores WHERE value IS NOT NULL"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    save_model(folder / "model", side=128)
    save_images(folder / "images")
    return folder


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("question", ASKED)
def test_a_run_that_was_interrupted_ends_with_the_rows_of_an_undisturbed_one(question, made, tmp_path):
    row = QUESTIONS[question.partition(":")[0]]
    calm, victim = (Bench(tmp_path / name, made, DRAWN.get(row.name, "")) for name in ("calm", "victim"))
    asked = {"question": question, "methods": METHODS.get(row.name, "gradcam"), "n": 7, "batch_size": 3}

    def stop(done):
        raise StoppedError

    for bench in (calm, victim):
        bench.root.mkdir()
    with pytest.raises(StoppedError):
        victim.ask(progress=stop, **asked)
    some = len(victim.rows())
    victim.ask(**asked)
    calm.ask(**asked)
    assert 0 < some < len(calm.rows())
    assert victim.rows() == calm.rows()
    stored = {name for name, metric in row.metrics.items() if not metric.best_of}
    assert {metric for (metric,) in calm.rows(TOLD)} == stored - UNASKED
    told = {(key, spec) for key, spec, metric, *_ in calm.rows() if metric == row.metric}
    methods = {method.spec for method in calm.run(**asked).methods}
    assert methods == {"model"} or {"random", "center", "edges"} | set(row.floors) < methods
    assert len(told) == 7 * len(methods)  # every image has a number or a note for each
    assert all((value is None) == (note is not None) for *_, value, note in calm.rows())
    forwards = calm.forwards
    calm.ask(**asked)
    assert calm.forwards == forwards
    with Store(str(calm.root / "scores.db")) as store:
        (section,) = make_report(store).sections
    assert {line.method for line in section.lines} == methods


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_reading_of_a_question_is_one_that_its_diagnostic_knows(name):
    question = parse_question(name)
    readings = variants(question)
    assert len(readings) == len(question.variants)  # none is refused
    for (reading, layer), change in zip(readings, question.variants, strict=True):
        assert layer == change.get("layer", "")
        assert {k: v for k, v in reading.parameters.items() if v != question.parameters[k]} == {
            k: v for k, v in change.items() if k != "layer"
        }


def test_a_question_that_fails_keeps_no_other_from_its_answers(monkeypatch):
    """Quantus loses the results of every metric where one fails."""
    asked, said = [], []

    def answer(one):
        asked.append(one.question.name)
        if one.question.name == "rq2":
            raise RuntimeError("no good")

    with pytest.raises(RuntimeError, match="no good"):
        answer_all([Asked(parse_question(name), None) for name in ("rq1", "rq2", "road")], answer, said.append)
    assert asked == ["rq1", "rq2", "road"]
    assert said == ["salcheck: rq2 has no answer: no good"]


def test_a_method_that_fails_in_one_question_leaves_the_other_question_its_rows(made, tmp_path, monkeypatch):
    bench = Bench(tmp_path, made)
    bench.ask(question="rq1", methods="gradcam", n=4)
    before = bench.rows()

    def broken(view, classes):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(gradcam, "saliency", broken)
    with pytest.raises(UnfitError, match="shapes do not match"):
        bench.ask(question="sensitivity:samples=2", methods="gradcam", n=4)
    assert bench.rows() == before


def test_the_same_maps_serve_every_question(made, tmp_path, monkeypatch):
    bench = Bench(tmp_path, made)
    bench.ask(question="rq1", methods="gradcam", n=4)

    def never(view, classes):
        raise AssertionError("made again")

    monkeypatch.setattr(gradcam, "saliency", never)
    bench.ask(question="rq2", methods="gradcam", n=4)
    assert any(spec == "gradcam" and metric == "drop" for _, spec, metric, *_ in bench.rows())


def test_methods_with_the_same_maps_share_the_forwards(made, tmp_path):
    """At a pooled linear head cam is gradcam; what differs is the last bits, if at all."""
    counts = []
    for name, methods in (("one", "gradcam"), ("two", "gradcam,case:contrast=logits"), ("same", "gradcam,cam")):
        bench = Bench(tmp_path / name, made)
        bench.root.mkdir()
        seen = [0]
        bench.model.net.conv1.register_forward_hook(
            lambda module, args, out, seen=seen: seen.__setitem__(0, seen[0] + len(out))
        )
        bench.ask(question="rq2:percent=5+25", methods=methods, n=4)
        counts.append(seen[0])
    one, two, same = counts
    assert one == 4 + 4 * 4 * 2  # each image once, and without its pixels for four methods at two levels
    assert one < two <= one + 4 * 2
    assert one <= same <= one + 2  # not sixteen


def test_out_of_memory_among_changed_images_halves_them_and_changes_nothing(made, tmp_path):
    calm, tight = Bench(tmp_path / "calm", made), Bench(tmp_path / "tight", made)
    for bench in (calm, tight):
        bench.root.mkdir()
    largest = [0]

    def starve(module, args):
        if len(args[0]) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        largest[0] = max(largest[0], len(args[0]))

    tight.model.net.conv1.register_forward_pre_hook(starve)
    for bench in (calm, tight):
        bench.ask(question="rq2:percent=5+25", methods="gradcam", n=6, batch_size=6)
    assert largest[0] == 3
    for one, other in zip(calm.rows(), tight.rows(), strict=True):
        assert one[:4] == other[:4]
        assert (one[4] is None) == (other[4] is None)
        assert one[4] is None or one[4] == pytest.approx(other[4], abs=1e-3)


def test_a_method_that_joins_later_has_the_scores_that_it_would_have_had(made, tmp_path):
    together, later = Bench(tmp_path / "together", made), Bench(tmp_path / "later", made)
    for bench in (together, later):
        bench.root.mkdir()
    asked = {"question": "rq2:percent=5+25", "n": 6}
    later.ask(methods="gradcam", **asked)
    for bench in (together, later):
        bench.ask(methods="gradcam,layercam", **asked)
    for one, other in zip(together.rows(), later.rows(), strict=True):
        assert one[:4] == other[:4]
        assert one[4] == pytest.approx(other[4], abs=1e-5)


def test_only_images_that_count_are_changed(made, tmp_path):
    """Excluded images cost their one forward, and no more; the others' scores are theirs."""
    bench = Bench(tmp_path, made)
    images = torch.stack([bench.model.transform(bench.data.read(item)) for item in bench.data.items])
    bench.model.net.fc.bias -= bench.model.net(images).mean(0)  # else all of them are in one class
    bench.label_by_halves()
    assert len({item.labels for item in bench.data.items}) > 2
    bench.ask(question="rq2:percent=5", methods="gradcam", n=40, correct_only=True)
    kept = {key for key, spec, metric, _, value, _ in bench.rows() if metric == "before" and spec == "gradcam"}
    assert 0 < len(kept) < 40
    before = {key: value for key, spec, metric, _, value, _ in bench.rows() if (spec, metric) == ("gradcam", "before")}
    items = {item.key: item for item in bench.data.items}
    for key in kept:
        image = bench.model.transform(bench.data.read(items[key]))[None]
        chance, top = bench.model.net(image).softmax(-1).max(-1)
        assert int(top) in items[key].labels
        assert before[key] == pytest.approx(float(chance), abs=1e-5)


def test_an_image_whose_map_ranks_nothing_is_one_row_with_its_reason(made, tmp_path):
    bench = Bench(tmp_path, made)
    bench.ask(question="rq2:percent=5+25", methods="uniform", n=4)
    rows = [row for row in bench.rows() if row[1] == "uniform"]
    assert [(metric, level, value, note) for _, _, metric, level, value, note in rows] == [
        ("drop", 0.0, None, "constant")
    ] * 4


def test_a_model_that_answers_nothing_finite_is_a_failure_and_no_blank_map(made, tmp_path):
    bench = Bench(tmp_path, made)
    whole = bench.model.net.forward

    def overflow(images):
        changed = (images == 0).flatten(1).float().mean(1) > 0.2  # a quarter is the mean colour
        return whole(images).masked_fill(changed[:, None], float("inf"))

    bench.model.net.forward = overflow
    bench.ask(question="rq2:percent=25", methods="gradcam", n=4)
    notes = {note for *_, note in bench.rows() if note}
    assert "the model's scores of a changed image are not finite" in notes
    with Store(str(bench.root / "scores.db")) as store:
        (section,) = make_report(store).sections
    assert next(line for line in section.lines if line.method == "center").failed == 4


def test_too_few_classes_are_one_line(made, tmp_path):
    bench = Bench(tmp_path, made)
    bench.model.__dict__["labels"] = bench.model.labels.__class__(["only"])
    with pytest.raises(SalcheckError, match="contrastive explains 2 class"):
        bench.run(question="contrastive")
