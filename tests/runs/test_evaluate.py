"""A run as the user sees it: the right rows, no work twice, nothing lost."""

import copy
import dataclasses
import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from salcheck.errors import SalcheckError
from salcheck.inputs.opening import open_data
from salcheck.inputs.sample import hold_out
from salcheck.methods import gradcam, layercam, parse_methods
from salcheck.naming import registry
from salcheck.network import labels
from salcheck.network.loading import load_model
from salcheck.report.build import make_report
from salcheck.report.stored import METHODS
from salcheck.runs import asking, plan
from salcheck.runs import evaluate as engine
from salcheck.runs import run as run_module
from salcheck.store.provenance import _imported
from salcheck.store.results import Store
from tests.makers import save_images, save_model

ROWS = """
SELECT images.key, methods.spec, metric, level, value, note FROM scores
JOIN images ON images.id = image_id JOIN methods ON methods.id = method_id ORDER BY 1, 2, 3, 4
"""
MAPS = """
SELECT images.key, methods.spec, role, checksum, signature FROM maps
JOIN images ON images.id = image_id JOIN methods ON methods.id = method_id ORDER BY 1, 2, 3
"""


class Bench:
    """A model, a dataset, a place for results; `ask` runs rq1 on them. drawn: a built-in model and its dataset."""

    def __init__(self, root: Path, made: Path, drawn: str = ""):
        self.root = root
        self.model = load_model(drawn or f"local-dir:{made / 'model'}", device="cpu")
        if drawn:
            whole = open_data(drawn, None, self.model, 0)
            self.data = dataclasses.replace(whole, items=whole.items[:120])
        else:
            self.data = open_data("folder", made / "images", self.model, 0)
        self.forwards = 0
        self.model.net.conv1.register_forward_hook(self._count)

    def label_by_halves(self):
        """Every second image has the class that the model gives it, the others another one."""
        images = torch.stack([self.model.transform(self.data.read(item)) for item in self.data.items])
        top = self.model.net(images).argmax(-1).tolist()
        items = [
            dataclasses.replace(item, labels=((u + place % 2) % 7,))
            for place, (item, u) in enumerate(zip(self.data.items, top, strict=True))
        ]
        self.data = dataclasses.replace(self.data, items=items)

    def _count(self, *_):
        self.forwards += 1

    def run(self, methods="gradcam,case", percent=5.0, n=12, correct_only=False, batch_size=5, seed=0, **more):
        question = asking.parse_question(more.pop("question", f"rq1:percent={percent}"))
        settings = {"n": n, "seed": seed, "correct_only": correct_only, "batch_size": batch_size, "command": "test"}
        request = plan.Request(more.pop("data", self.data), **settings, **more)
        return plan.make_run(question, self.model, parse_methods([methods]), request, self.root / "cache")

    def ask(self, *, progress=lambda stop: None, **settings):
        with Store(str(self.root / "scores.db")) as store:
            return engine.evaluate(self.run(**settings), store, self.root / "cache", progress)

    def rows(self, query=ROWS):
        with Store(str(self.root / "scores.db")) as store:
            return store.query(query).astype(object).replace({np.nan: None}).values.tolist()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    save_model(folder / "model", side=128)
    save_images(folder / "images")
    return folder


@pytest.fixture
def bench(made, tmp_path):
    return Bench(tmp_path, made)


def by_hand(bench, item, percent=5.0):
    """Grad-CAM overlap of one image's top two classes, with nothing of salcheck's batching, cache or ranking."""
    net, image = bench.model.net, bench.model.transform(bench.data.read(item))[None]
    features = net.forward_features(image).detach().requires_grad_()
    logits = net.forward_head(features)[0]
    tops = []
    for u in logits.argsort(descending=True)[:2]:
        (grad,) = torch.autograd.grad(logits[u], features, retain_graph=True)
        grid = (grad.mean((-2, -1), keepdim=True) * features).sum(1, keepdim=True).clamp(min=0)
        pixels = torch.nn.functional.interpolate(grid, size=(128, 128), mode="bilinear").detach().flatten().numpy()
        if (pixels > 0).sum() < round(percent / 100 * 16384):
            return None
        tops.append(set(np.argsort(-pixels, kind="stable")[: round(percent / 100 * 16384)].tolist()))
    return 100 * len(tops[0] & tops[1]) / round(percent / 100 * 16384)


def test_scores_equal_one_image_at_a_time(bench):
    bench.ask()
    items = {item.key: item for item in bench.data.items}
    found = {key: value for key, spec, metric, _, value, _ in bench.rows() if (spec, metric) == ("gradcam", "overlap")}
    assert len(found) == 12
    expected = {key: by_hand(bench, items[key]) for key in found}
    assert any(value is not None and 0 < value < 100 for value in expected.values())
    for key, value in found.items():
        assert value == (None if expected[key] is None else pytest.approx(expected[key], abs=0.5))


def test_every_method_and_control_sees_the_same_images(bench):
    bench.ask(methods="gradcam")
    seen = {}
    for key, spec, metric, *_ in bench.rows():
        if metric == "overlap":
            seen.setdefault(spec, []).append(key)
    assert set(seen) == {"gradcam", "center", "edges", "random"}
    assert len({tuple(keys) for keys in seen.values()}) == 1


def test_changed_images_are_forwarded_once_for_all_methods_of_a_run(made, tmp_path):
    """The memory of changed images goes from one method to the next: a second one costs no forward."""
    spent = []
    for methods in ("gradcam", "gradcam,hirescam"):
        bench = Bench(tmp_path / methods, made)
        bench.root.mkdir()
        bench.ask(question="infidelity:samples=4", methods=methods)
        spent.append(bench.forwards)
    assert spent[0] == spent[1] > 0


def test_the_same_command_gives_the_same_rows_bit_for_bit(made, tmp_path):
    benches = [Bench(tmp_path / name, made) for name in ("one", "two")]
    for bench in benches:
        bench.root.mkdir()
        bench.ask()
    assert benches[0].rows() == benches[1].rows()
    assert benches[0].rows(MAPS) == benches[1].rows(MAPS)


def test_asked_again_it_reads_no_image_and_runs_no_forward(bench, monkeypatch):
    bench.ask()
    rows, forwards = bench.rows(), bench.forwards
    monkeypatch.setattr("salcheck.datasets._files.read_image", lambda path: pytest.fail("read again"))
    bench.ask()
    assert (bench.rows(), bench.forwards) == (rows, forwards)


def test_a_method_asked_for_later_joins_the_run(bench):
    first = bench.ask(methods="gradcam")
    before = bench.rows()
    assert bench.ask(methods="gradcam,layercam") == first
    after = bench.rows()
    assert {spec for _, spec, *_ in after} - {spec for _, spec, *_ in before} == {"layercam"}
    assert [row for row in after if row[1] != "layercam"] == before


@pytest.mark.parametrize("correct_only", [False, True])
def test_another_percentage_needs_no_forward_because_the_maps_are_cached(bench, monkeypatch, correct_only):
    bench.label_by_halves()
    bench.ask(correct_only=correct_only, n=40)
    forwards = bench.forwards
    monkeypatch.setattr("salcheck.datasets._files.read_image", lambda path: pytest.fail("read again"))
    bench.ask(percent=20.0, correct_only=correct_only, n=40)
    assert bench.forwards == forwards
    assert {level for _, _, _, level, _, _ in bench.rows()} - {0.0} == {5.0, 20.0}


def test_another_seed_gives_other_noise_and_the_same_maps_otherwise(bench):
    for seed in (0, 1):
        bench.ask(methods="gradcam", n=40, seed=seed)
    seen = {}
    for key, spec, role, checksum, _ in bench.rows(MAPS):
        seen.setdefault((key, spec, role), []).append(checksum)
    twice = {place: checksums for place, checksums in seen.items() if len(checksums) == 2}
    assert {spec for _, spec, _ in twice} == {"random"}
    assert all(first != second for first, second in twice.values())


def test_torn_and_altered_maps_are_made_again(bench):
    bench.ask()
    maps = bench.rows(MAPS)
    files = sorted((bench.root / "cache" / "maps").rglob("gradcam-*.npy"))
    assert len(files) == 2
    files[0].write_bytes(files[0].read_bytes()[:200])
    damaged = bytearray(files[1].read_bytes())
    damaged[-50:] = b"\xff" * 50
    damaged[128:1000] = bytes(872)
    files[1].write_bytes(damaged)
    forwards = bench.forwards
    bench.ask(percent=20.0)
    assert bench.forwards > forwards
    assert bench.rows(MAPS) == maps


def test_killed_in_mid_run_it_ends_with_the_rows_of_an_undisturbed_run(made, tmp_path):
    victim, calm = Bench(tmp_path / "victim", made), Bench(tmp_path / "calm", made)
    victim.root.mkdir()
    calm.root.mkdir()
    code = (
        "import os, signal, sys, pathlib\n"
        "from tests.runs.test_evaluate import Bench\n"
        "kill = lambda stop: os.kill(os.getpid(), signal.SIGKILL) if stop >= 10 else None\n"
        "Bench(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])).ask(progress=kill)\n"
    )
    project = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code, victim.root, made], cwd=project, check=False)
    assert done.returncode == -9
    half = len(victim.rows())
    victim.ask()
    calm.ask()
    assert 0 < half < len(victim.rows())
    assert victim.rows() == calm.rows()
    assert victim.rows(MAPS) == calm.rows(MAPS)


def test_an_unreadable_image_is_a_row_with_its_reason(made, tmp_path):
    images = save_images(tmp_path / "images", classes=3, each=4)
    bench = Bench(tmp_path, made)
    bench.data = open_data("folder", images, bench.model, 0)
    victim = bench.run().items[1]
    bench.data.path(victim).write_bytes(b"no picture")
    bench.ask()
    notes = [row for row in bench.rows() if row[0] == victim.key]
    assert len(notes) == 5
    assert all(value is None and "no image that can be read" in note for *_, value, note in notes)
    assert all(note is None for key, _, _, _, value, note in bench.rows() if key != victim.key and value is not None)


def test_only_correctly_classified_images_are_scored(bench):
    bench.ask(correct_only=True, n=40)
    items = {item.key: item for item in bench.data.items}
    for key, _, _, _, value, note in bench.rows():
        image = bench.model.transform(bench.data.read(items[key]))[None]
        right = int(bench.model.net(image).argmax()) in items[key].labels
        assert (note == "not correctly classified") == (not right)
        assert right or value is None


def test_without_labels_correctness_cannot_be_asked_for(bench, tmp_path):
    flat = save_images(tmp_path / "flat", classes=1, each=4) / "0"
    data = open_data("folder", flat, bench.model, 0)
    with pytest.raises(SalcheckError, match="--all-images"):
        bench.ask(data=data, methods="gradcam", correct_only=True)
    bench.ask(data=data, methods="gradcam")
    with pytest.raises(SalcheckError, match="--reference"):
        bench.ask(data=data, methods="case")


def test_out_of_memory_halves_the_chunk_and_changes_nothing(made, tmp_path, monkeypatch):
    calm, tight = Bench(tmp_path / "calm", made), Bench(tmp_path / "tight", made)
    calm.root.mkdir()
    tight.root.mkdir()
    calm.ask(methods="gradcam")
    whole = gradcam.saliency

    def starved(view, classes):
        if len(view) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(view, classes)

    monkeypatch.setattr(gradcam, "saliency", starved)
    tight.ask(methods="gradcam")
    for calm_row, tight_row in zip(calm.rows(), tight.rows(), strict=True):
        assert calm_row[:3] == tight_row[:3]
        assert calm_row[4] == pytest.approx(tight_row[4], abs=0.5)


def test_an_image_that_does_not_fit_alone_is_noted(bench, monkeypatch):
    def starved(view, classes):
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(gradcam, "saliency", starved)
    bench.ask(methods="gradcam", n=4)
    assert {note for _, spec, _, _, _, note in bench.rows() if spec == "gradcam"} == {"out of memory with one image"}


def test_out_of_memory_beside_an_unreadable_image_leaves_no_image_without_a_row(made, tmp_path, monkeypatch):
    bench = Bench(tmp_path, made)
    bench.data = open_data("folder", save_images(tmp_path / "images", classes=3, each=4), bench.model, 0)
    bench.data.path(bench.run(n=2).items[0]).write_bytes(b"no picture")

    def starved(view, classes):
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(gradcam, "saliency", starved)
    bench.ask(methods="gradcam", n=2, batch_size=2)
    notes = [note for _, spec, _, _, _, note in bench.rows() if spec == "gradcam"]
    assert len(notes) == 2
    assert sum("out of memory" in note for note in notes) == 1


def test_unreadable_reference_images_are_said_and_not_cached(bench, tmp_path):
    folder = save_images(tmp_path / "reference", seed=1)
    (folder / "0" / "0.png").write_bytes(b"no picture")
    reference = open_data("folder", folder, bench.model, 0)
    assert "1 of its images could not be read" in bench.run(reference_data=reference).reference_source
    assert not list((bench.root / "cache" / "reference").glob("*.npz"))


def test_an_image_whose_twin_is_held_out_is_not_evaluated(bench, tmp_path):
    folder = save_images(tmp_path / "twins")
    for path in sorted(folder.rglob("*.png")):
        path.with_stem(f"{path.stem}-twin").write_bytes(path.read_bytes())
    run = bench.run(data=open_data("folder", folder, bench.model, 0), n=1000)
    held = {item.fingerprint for item in hold_out(run.dataset.items, 0)[1]}
    assert run.items
    assert not held & {item.fingerprint for item in run.items}


def test_a_defect_is_not_swallowed(bench, monkeypatch):
    def broken(view, classes):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(gradcam, "saliency", broken)
    with pytest.raises(SalcheckError, match=r"it fails with RuntimeError: shapes do not match \(test_"):
        bench.ask(methods="gradcam", n=4)
    assert bench.rows() == []


def test_a_model_without_numbers_is_noted(bench):
    with torch.no_grad():
        bench.model.net.fc.bias.fill_(float("nan"))
    bench.ask(methods="gradcam", n=4)
    assert {note for *_, note in bench.rows()} == {"the model's scores are not finite"}


def test_references_are_never_evaluated_unless_asked_for(bench, tmp_path):
    run = bench.run(n=100)
    held = {item.key for item in hold_out(bench.data.items, 0)[1]}
    assert held and not held & {item.key for item in run.items}
    assert "held out" in run.reference_source
    other = save_images(tmp_path / "other", seed=1)
    shared = other / "0" / "copy.png"
    shared.write_bytes(bench.data.path(bench.data.items[0]).read_bytes())
    reference = open_data("folder", other, bench.model, 0)
    with pytest.raises(SalcheckError, match=r"1 of 42 evaluated images .* --allow-overlap"):
        bench.run(n=100, reference_data=reference)
    assert (
        "1 of its images EVALUATED TOO"
        in bench.run(n=100, reference_data=reference, allow_overlap=True).reference_source
    )


def test_what_can_change_a_score_makes_another_run(bench, tmp_path):
    base = bench.run()
    other = open_data("folder", save_images(tmp_path / "other", seed=1), bench.model, 0)
    changed = [
        bench.run(percent=6.0),
        bench.run(seed=1),
        bench.run(correct_only=True),
        bench.run(question="rq1:threshold=70"),
        bench.run(reference_data=other),
    ]
    assert len({run.key for run in [base, *changed]}) == 6
    for same in ({"methods": "gradcam"}, {"n": 13}, {"batch_size": 3}):
        assert bench.run(**same).key == base.key


def test_a_larger_draw_goes_on_with_the_same_run(bench):
    first = bench.ask(methods="gradcam", n=7)
    before = bench.rows()
    assert bench.ask(methods="gradcam", n=12) == first
    after = bench.rows()
    assert [row for row in after if row in before] == before
    assert len({row[0] for row in after}) == 12


def test_out_of_memory_at_one_batch_size_and_resumed_at_another_is_one_run(made, tmp_path, monkeypatch):
    """And the report says that it was made in two attempts."""
    victim, calm = Bench(tmp_path / "victim", made), Bench(tmp_path / "calm", made)
    victim.root.mkdir()
    calm.root.mkdir()

    def stop(done):
        raise MemoryError

    with pytest.raises(MemoryError):
        victim.ask(batch_size=7, progress=stop)
    assert len(victim.rows()) > 0
    assert victim.ask(batch_size=2) == 1
    calm.ask(batch_size=4)
    for one, other in zip(victim.rows(), calm.rows(), strict=True):
        assert one[:4] == other[:4]
        assert one[4] == (None if other[4] is None else pytest.approx(other[4], abs=0.5))
    with Store(str(victim.root / "scores.db")) as store:
        attempts = store.query("SELECT id, batch_size, device, command FROM attempts ORDER BY id")
        named = store.query("SELECT attempt_id, COUNT(*) AS n FROM scores GROUP BY attempt_id ORDER BY 1")
        mapped = store.query("SELECT DISTINCT attempt_id FROM maps ORDER BY 1")
        (section,) = make_report(store).sections
    assert attempts.values.tolist() == [[1, 7, "cpu", "test"], [2, 2, "cpu", "test"]]
    assert named["attempt_id"].tolist() == mapped["attempt_id"].tolist() == [1, 2]
    assert "Scored in 2 attempts: batch size 7 and 2." in section.remarks


def test_a_run_that_is_done_makes_no_attempt(bench):
    bench.ask(methods="gradcam")
    bench.ask(methods="gradcam")
    assert bench.rows("SELECT COUNT(*) FROM attempts") == [[1]]


def test_no_question_no_format_and_no_command_is_in_the_code_of_a_run(bench, monkeypatch):
    run = bench.run(methods="gradcam")
    seen = []
    monkeypatch.setattr(run_module, "code_of", lambda *files, alone: seen.extend(_imported(files) | set(alone)) or "x")
    assert (run.code, set(run.codes.values())) == ("x", {"x"})
    rooms = {file.relative_to(registry.PACKAGE).parts[0] for file in seen}
    assert not rooms & {"questions", "formats", "commands", "screen", "report", "store", "cli.py"}
    assert {"methods", "diagnostics", "network", "maps", "runs"} <= rooms


def test_changed_code_of_one_method_makes_its_maps_anew_and_no_others(bench, monkeypatch):
    bench.ask(methods="gradcam,layercam")
    before = bench.rows()
    real = run_module.code_of

    def code_of(*files, alone):
        return "changed" if files[0].stem == "layercam" else real(*files, alone=alone)

    monkeypatch.setattr(run_module, "code_of", code_of)
    asked = []

    def watched(module):
        own = module.saliency
        return lambda view, classes: asked.append(module) or own(view, classes)

    for module in (gradcam, layercam):
        monkeypatch.setattr(module, "saliency", watched(module))
    assert bench.ask(methods="gradcam,layercam") == 1
    assert asked == [layercam] * 3
    assert len(bench.rows()) == len(before) + sum(row[1] == "layercam" for row in before)
    with Store(str(bench.root / "scores.db")) as store:
        (section,) = make_report(store).sections
    assert [line.method for line in section.lines].count("layercam") == 1
    assert "Scores by other code of layercam are stored too; those of the last used are shown." in section.remarks
    monkeypatch.setattr(run_module, "code_of", real)
    bench.ask(methods="gradcam,layercam")  # the change is taken back
    assert len(asked) == 3
    with Store(str(bench.root / "scores.db")) as store:
        shown = store.query(METHODS, run=1)
        codes = dict(store.query("SELECT id, code FROM methods").itertuples(index=False))
    assert {codes[id] for id, spec in zip(shown["id"], shown["spec"], strict=True) if spec == "layercam"} != {"changed"}


@pytest.mark.parametrize(("settings", "says"), [({"n": 0}, "no images"), ({"methods": "case:k=9"}, "1 to 6")])
def test_what_cannot_be_run_is_one_line(bench, settings, says):
    with pytest.raises(SalcheckError, match=says):
        bench.ask(**settings)


def test_an_unknown_question_offers_the_nearest():
    with pytest.raises(SalcheckError, match=r"did you mean .*rq1"):
        asking.parse_question("rq11")


def test_the_summary_counts_what_was_left_out(bench):
    run_id = bench.ask(correct_only=True)
    with Store(str(bench.root / "scores.db")) as store:
        line = engine.summary(store, bench.run(correct_only=True), run_id)
    assert f"run {run_id}: 12 images, 0 of 12 right, 5 methods" in line
    assert "excluded: not correctly classified" in line


def test_half_precision_is_a_run_of_its_own_and_says_how_far_its_maps_moved(bench):
    bench.ask(methods="gradcam")
    bench.model = dataclasses.replace(bench.model, amp="bf16")
    number = bench.ask(methods="gradcam")
    assert number == 2
    with Store(str(bench.root / "scores.db")) as store:
        facts = store.query("SELECT DISTINCT name, COUNT(*) AS n FROM facts GROUP BY name ORDER BY name")
        report = make_report(store, runs=[number])
    # The first chunk of five images, two classes, gradcam and the three controls.
    assert facts["name"].tolist() == ["error_against_float32", "percent_shared_with_float32"]
    assert set(facts["n"]) <= set(range(30, 41))
    (section,) = report.sections
    assert any("gradcam: error against float32" in remark for remark in section.remarks)


def test_what_cannot_be_used_is_left_out_with_a_note_or_refused_by_name(bench):
    run = bench.run(methods="quick")
    assert {method.name for method in run.methods} >= {"gradcam", "lafam", "random", "center", "edges"}
    bench.model = dataclasses.replace(bench.model, net=_without_activations(bench.model.net))
    assert any("guidedbackprop is left out" in note for note in bench.run(methods="all").notes)
    with pytest.raises(SalcheckError, match="cannot use guidedbackprop"):
        bench.run(methods="guidedbackprop")


def _without_activations(net):
    net = copy.deepcopy(net)
    for module in net.modules():
        for name, child in module.named_children():
            if isinstance(child, torch.nn.ReLU):
                setattr(module, name, torch.nn.Identity())
    return net


def test_images_that_a_method_names_itself_are_held_out_too(bench, tmp_path):
    """Else diffcam would compare an image with itself."""
    folder = bench.data.root
    with pytest.raises(SalcheckError, match="are also reference images"):
        bench.run(methods=f"diffcam:group=images:{folder}")
    run = bench.run(methods=f"diffcam:group=images:{folder}", allow_overlap=True)
    assert "EVALUATED TOO" in run.reference_source
    other = save_images(tmp_path / "other", classes=2, each=3, seed=9)
    apart = bench.run(methods=f"diffcam:group=images:{other}")
    assert "EVALUATED TOO" not in apart.reference_source
    again = bench.run(methods=f"diffcam:group=images:{other}")  # its features come from the cache now
    named = next(method for method in apart.methods if method.name == "diffcam")
    assert again.inputs(named) == apart.inputs(named)
    assert apart.inputs(named) != run.inputs(next(m for m in run.methods if m.name == "diffcam"))


def test_an_image_that_failed_once_keeps_its_note_and_gets_no_scores_beside_it(made, tmp_path):
    bench = Bench(tmp_path, made)
    bench.data = open_data("folder", save_images(tmp_path / "images", classes=3, each=4), bench.model, 0)
    victim = bench.data.path(bench.run(n=3).items[1])
    whole = victim.read_bytes()
    victim.write_bytes(b"no picture")
    bench.ask(question="rq2:percent=5+50", methods="gradcam", n=3, batch_size=3)
    victim.write_bytes(whole)
    bench.ask(question="rq2:percent=5+50", methods="gradcam", n=5, batch_size=2)
    key = bench.run(n=3).items[1].key
    rows = [row for row in bench.rows() if row[0] == key]
    assert len(rows) == 4 and all(note for *_, note in rows)  # one for each method and control
    assert len({row[0] for row in bench.rows()}) == 5


def test_an_image_that_can_no_longer_be_read_is_noted_where_its_maps_are_gone(made, tmp_path):
    """rq1 reads no image where all maps are stored."""
    bench = Bench(tmp_path, made)
    bench.data = open_data("folder", save_images(tmp_path / "images", classes=3, each=4), bench.model, 0)
    bench.ask(methods="gradcam", n=4)
    victim = bench.run(n=4).items[1]
    bench.data.path(victim).write_bytes(b"no picture")
    for file in (bench.root / "cache" / "maps").rglob("*.npy"):
        file.unlink()
    bench.ask(methods="gradcam", n=4, percent=20.0)
    noted = {key for key, *_, note in bench.rows() if note and "no image that can be read" in note}
    assert noted == {victim.key}


def test_an_unreadable_reference_makes_no_other_run(bench, tmp_path):
    """Whether references are gathered at all depends on the methods that are asked."""
    folder = save_images(tmp_path / "reference", seed=1)
    (folder / "0" / "0.png").write_bytes(b"no picture")
    reference = open_data("folder", folder, bench.model, 0)
    assert len({bench.run(methods=m, reference_data=reference).key for m in ("gradcam", "case")}) == 1


@pytest.mark.parametrize("method", ["case:contrast=explicit,against=cat", "diffcam:group=class:cat"])
def test_a_name_that_comes_to_mean_another_class_makes_other_maps(bench, method):
    names = ["cat", *"abcdef"]
    first, second = (dataclasses.replace(bench.model, labels=labels.Labels(given)) for given in (names, names[::-1]))
    inputs = []
    for bench.model in (first, second):
        run = bench.run(methods=method)
        inputs.append(run.inputs(run.methods[0]))
    assert [one["classes"] for one in inputs] == [[0], [6]]
    assert "classes" not in run.inputs(run.methods[-1])


def test_broken_files_are_counted_by_their_reasons(made, tmp_path):
    images = save_images(tmp_path / "images", classes=3, each=4)
    bench = Bench(tmp_path, made)
    bench.data = open_data("folder", images, bench.model, 0)
    for number, item in enumerate(bench.data.items):
        path = bench.data.path(item)
        path.write_bytes(b"no picture" if number % 3 else path.read_bytes()[: 150 + number])
    number = bench.ask(methods="gradcam", n=20)
    run = bench.run(methods="gradcam", n=20)
    with Store(str(bench.root / "scores.db")) as store:
        line = engine.summary(store, run, number)
    counted = {note for *_, note in bench.rows()}
    assert counted == {"damaged", "no image that can be read"}
    assert all(f" {reason}" in line for reason in counted) and str(tmp_path) not in line


def test_an_image_that_cannot_be_read_stops_nothing_where_twins_are_looked_for(bench, tmp_path, monkeypatch):
    """The permission, or the disk, may fail after the images were listed."""
    folder = save_images(tmp_path / "twins", classes=3, each=4)
    for path in sorted(folder.rglob("*.png")):
        path.with_stem(f"{path.stem}-twin").write_bytes(path.read_bytes())
    data = open_data("folder", folder, bench.model, 0)

    def broken(path, most=-1):
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr(plan, "read_file", broken)
    assert bench.run(data=data, n=1000).items
