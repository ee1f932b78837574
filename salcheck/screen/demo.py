"""The whole path on the built-in model: a scene, its maps, one question over 200 scenes, a report."""

from pathlib import Path

from salcheck.errors import SalcheckError
from salcheck.inputs.opening import open_data
from salcheck.methods import parse_methods
from salcheck.naming import registry
from salcheck.network.loading import load_model
from salcheck.report.build import make_report
from salcheck.runs.asking import ask, parse_question
from salcheck.runs.explain import explain
from salcheck.runs.plan import Request
from salcheck.screen import terminal
from salcheck.screen.explained import Output
from salcheck.screen.terminal import say
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
    dataset = open_data("scenes", None, model, 0)
    scene = out / "scene.png"
    picture = dataset.read(dataset.items[0])
    atomic_write(scene, lambda file: picture.save(file, format="PNG"))
    say(f"1. Maps of one scene with two objects: salcheck explain {scene} --arch scenes --method case,gradcam")
    output = Output(model, parse_methods(["case,gradcam"]), out, None, False, [])
    for explained in explain(model, [scene], parse_methods(["case,gradcam"]), ["top1", "top2"], {}):
        output.add(explained)
    say(f"\n2. One question over {SCENES} scenes: salcheck eval rq1 --arch scenes --n {SCENES}")
    database = out / "salcheck.db"
    request = Request(dataset, n=SCENES, batch_size=BATCH, command="salcheck demo")
    with Store(str(database)) as store:
        asked = ([parse_question("rq1")], model, parse_methods(["quick"]), request)
        (run,) = ask(*asked, store, out / "cache", terminal).runs
        say(f"\n3. What the scores say: salcheck report --db {database} --out {out / 'report.md'}\n")
        report = make_report(store, runs=[run])
    text = registry.load("formats", "md").render(report, {})
    atomic_write(out / "report.md", lambda file: file.write(text.encode()))
    print(registry.load("formats", "text").render(report, {}), end="")
    say(f"All of it is in {out}: pictures, salcheck.db, report.md")
