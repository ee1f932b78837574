"""The whole path on the built-in model: a scene, its maps, one question over 200 scenes, a report."""

from pathlib import Path

from salcheck.errors import SalcheckError
from salcheck.methods import parse_methods
from salcheck.naming import registry
from salcheck.network.loading import load_model
from salcheck.report.build import make_report
from salcheck.runs import evaluate as engine
from salcheck.runs.explain import explain
from salcheck.screen.explained import Output
from salcheck.screen.terminal import progress, say
from salcheck.store.cache import atomic_write
from salcheck.store.results import Store

SCENES = 200
BATCH = 16


def run_demo(out: Path) -> None:
    """Everything lands in `out`: scene.png, its maps, salcheck.db, the cache and report.md."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SalcheckError(f"cannot make folder '{out}': {error.strerror}; name another with --out") from error
    model = load_model("scenes")
    dataset = engine.open_data("scenes", None, model, 0)
    with progress("reference", "images") as show:
        run = engine.make_run(
            engine.parse_question("rq1"),
            model,
            dataset,
            parse_methods(["quick"]),
            n=SCENES,
            seed=0,
            correct_only=True,
            batch_size=BATCH,
            command="salcheck demo",
            cache=out / "cache",
            progress=show,
        )
    scene = out / "scene.png"
    picture = dataset.read(run.items[0])
    atomic_write(scene, lambda file: picture.save(file, format="PNG"))
    say(f"1. Maps of one scene with two objects: salcheck explain {scene} --arch scenes --method case,gradcam")
    methods = parse_methods(["case,gradcam"])
    output = Output(model, methods, out, None, False, [])
    for explained in explain(model, [scene], methods, ["top1", "top2"], run.references.values):
        output.add(explained)
    say(f"\n2. One question over {SCENES} scenes: salcheck eval rq1 --arch scenes --n {SCENES}")
    database = out / "salcheck.db"
    with Store(str(database)) as store:
        with progress("rq1", "images") as show:
            run_id = engine.evaluate(run, store, out / "cache", lambda done: show(done, len(run.items)))
        say(f"\n3. What the scores say: salcheck report --db {database} --out {out / 'report.md'}\n")
        report = make_report(store, runs=[run_id])
    text = registry.load("formats", "md").render(report, {})
    atomic_write(out / "report.md", lambda file: file.write(text.encode()))
    print(registry.load("formats", "text").render(report, {}), end="")
    say(f"All of it is in {out}: pictures, salcheck.db, report.md")
