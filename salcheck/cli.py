"""The command line: parse, call, print. Everything heavy is imported inside the commands."""

import dataclasses
import io
import re
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from salcheck import __version__
from salcheck.errors import SalcheckError
from salcheck.naming import registry
from salcheck.network.archs import ARCHS
from salcheck.questions import QUESTIONS, Question

app = typer.Typer(
    name="salcheck",
    help="Can you believe its maps? Makes, measures and tests the saliency maps of timm models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # boxes cut long words and leave half of a narrow terminal empty
    context_settings={"help_option_names": ["-h", "--help"]},
)

LARGEST = 2**31 - 1  # what an integer column of any database holds


def _number(value: float | None) -> float | None:
    if value is not None and not value <= LARGEST:  # so written, it also stops NaN, which passes a min and a max
        raise typer.BadParameter(f"it is a number up to {LARGEST}.")
    return value


Arch = Annotated[
    str, typer.Option(help=f"hf-hub:org/name, local-dir:PATH, any timm name, or {', '.join(ARCHS)}.", metavar="MODEL")
]
Checkpoint = Annotated[
    Path | None, typer.Option(help="Your own weights for --arch: .safetensors, or a .pth state dict.", metavar="FILE")
]
Layer = Annotated[str, typer.Option(help="Where the model is cut: features, paper or a module path.", metavar="LAYER")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda[:i] or mps.", metavar="DEVICE")]
Reference = Annotated[
    Path | None,
    typer.Option(help="Held-out images in class folders, for methods that compare with them.", metavar="DIR"),
]
Amp = Annotated[
    str | None,
    typer.Option(help="bf16 or fp16: half precision; how far the maps move from float32 is reported.", metavar="TYPE"),
]
Seed = Annotated[
    int,
    typer.Option(help="Decides which images are drawn and everything random.", min=0, metavar="N", callback=_number),
]
BatchSize = Annotated[int, typer.Option(help="Images per forward.", min=1, metavar="N", callback=_number)]
Db = Annotated[
    str | None,
    typer.Option(
        help="SQLite file or postgresql:// URL.", envvar="SALCHECK_DB", metavar="DB", show_default="salcheck.db"
    ),
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        help=f"{', '.join(registry.names('formats'))}.",
        metavar="NAME",
        show_default="as --out, or text",
    ),
]
METHODS = (
    f"One or more of {', '.join(registry.names('methods'))}, or quick (those that cost next to nothing), or all; "
    "case:contrast=logits,k=3 sets parameters."
)
ASKED = (
    f"One or more of {', '.join(QUESTIONS)}; rq2:fill=blur,percent=5+50 sets parameters. "
    "What they ask and what can be set: salcheck questions."
)


@app.callback(invoke_without_command=True)
def salcheck(version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False) -> None:
    if version:
        typer.echo(f"salcheck {__version__}")
        raise typer.Exit


@app.command()
def explain(
    images: Annotated[list[Path], typer.Argument(help="Photographs.", metavar="IMG")],
    method: Annotated[list[str], typer.Option("--method", "-m", help=METHODS, metavar="METHODS")] = ["case"],  # noqa: B006
    arch: Arch = "resnet",
    checkpoint: Checkpoint = None,
    classes: Annotated[
        list[str],
        typer.Option("--class", "-c", help="top1, top2, ..., a class index or name; repeatable.", metavar="CLASS"),
    ] = ["top1", "top2"],  # noqa: B006
    layer: Layer = "features",
    device: Device = "auto",
    amp: Amp = None,
    reference: Reference = None,
    out: Annotated[
        Path, typer.Option(help="Folder for <image>-<method>.png; with all or quick, <image>-sheet.png.", metavar="DIR")
    ] = Path(),
    raw: Annotated[
        Path | None, typer.Option(help="Folder for one <image>.npz each: logits, classes, map/<method>.", metavar="DIR")
    ] = None,
    seed: Seed = 0,
    batch_size: BatchSize = 8,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Make maps of single images. Each comes as a picture, with where its mass lies, and as numbers with --raw."""
    from salcheck.methods import parse_methods
    from salcheck.network.loading import load_model
    from salcheck.runs.explain import explain as explain_images
    from salcheck.screen.explained import Output
    from salcheck.screen.terminal import progress

    methods = parse_methods(method)
    model = load_model(arch, checkpoint=checkpoint, layer=layer, device=device, amp=amp)
    methods, references, notes = _references(methods, model, reference, batch_size)
    with progress("maps", "methods") as show:
        results = explain_images(model, images, methods, classes, references, seed, batch_size, show)
        output = Output(model, methods, out, raw, json, notes)
        for explained in results:
            output.add(explained)
    raise typer.Exit(output.close())


@app.command("eval")
def evaluate(
    questions: Annotated[list[str], typer.Argument(help=ASKED, metavar="QUESTION")],
    methods: Annotated[
        list[str], typer.Option("--methods", "-m", help=f"{METHODS} Controls join.", metavar="METHODS")
    ] = ["quick"],  # noqa: B006
    arch: Arch = "resnet",
    checkpoint: Checkpoint = None,
    layer: Layer = "features",
    device: Device = "auto",
    amp: Amp = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            help=f"{', '.join(registry.names('datasets'))}.",
            metavar="NAME",
            show_default="folder with --data, scenes with --arch scenes, else imagenette, which downloads itself",
        ),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Where the dataset lies.", metavar="DIR")] = None,
    reference: Reference = None,
    allow_overlap: Annotated[
        bool, typer.Option("--allow-overlap", help="Let reference images be evaluated too; the report says so.")
    ] = False,
    n: Annotated[int, typer.Option("--n", "-n", help="Images to draw.", min=1, metavar="N")] = 500,
    seed: Seed = 0,
    all_images: Annotated[
        bool, typer.Option("--all-images", help="Also images that the model gets wrong, or has no label for.")
    ] = False,
    variants: Annotated[
        bool,
        typer.Option("--variants", help="Also under the field's other readings: does the ranking of methods hold?"),
    ] = False,
    batch_size: BatchSize = 8,
    db: Db = None,
) -> None:
    """Ask questions of many images. Every score is stored; repeated or killed, nothing is done twice."""
    from salcheck.datasets._files import portable
    from salcheck.methods import parse_methods
    from salcheck.network.loading import load_model
    from salcheck.runs import evaluate as engine
    from salcheck.screen.terminal import progress, say
    from salcheck.store.cache import cache_folder
    from salcheck.store.results import Store, default_db

    asked = [engine.parse_question(text) for text in questions]
    chosen, cache = parse_methods(methods), cache_folder()
    model = load_model(arch, checkpoint=checkpoint, layer=layer, device=device, amp=amp)
    command = re.sub(r"//[^@/\s]*@", "//***@", portable(shlex.join(["salcheck", *sys.argv[1:]])))
    with Store(db or default_db()) as store:
        images = engine.open_data(engine.choose_data(dataset, data, model), data, model, seed)
        held = None if reference is None else engine.open_data("folder", reference, model, seed)

        def ask(question: Question, subject: Any, elsewhere: bool) -> None:
            named = [dataclasses.replace(method, implied=method.implied or elsewhere) for method in chosen]
            with progress("reference", "images") as show:
                run = engine.make_run(
                    question,
                    subject,
                    images,
                    named,
                    reference_data=held,
                    n=n,
                    seed=seed,
                    correct_only=not all_images,
                    allow_overlap=allow_overlap,
                    batch_size=batch_size,
                    command=command,
                    cache=cache,
                    progress=show,
                )
            for note in run.notes:
                say(note)
            with progress(question.name, "images") as show:
                run_id = engine.evaluate(run, store, cache, lambda done: show(done, len(run.items)))
            say(engine.summary(store, run, run_id))

        engine.ask_all(asked, model, variants, ask, say)


@app.command()
def report(
    format: Format = None,
    question: Annotated[str | None, typer.Option(help="Only this question.", metavar="QUESTION")] = None,
    run: Annotated[
        int | None, typer.Option(help="Only this run, by its number.", metavar="ID", callback=_number)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write to this file, and pictures of curves beside report.md.", metavar="FILE")
    ] = None,
    db: Db = None,
) -> None:
    """Say what the stored scores say. Tables, tests, controls and verdicts."""
    from salcheck.report.build import make_report
    from salcheck.screen.curves import draw_pictures
    from salcheck.store.cache import atomic_write
    from salcheck.store.results import Store, default_db

    suffix = out.suffix.lstrip(".").lower() if out else ""
    chosen = format or (suffix if suffix in registry.names("formats") else "text")
    form = registry.load("formats", chosen)
    with Store(db or default_db(), create=False) as store:
        made = make_report(store, question, run)
    if out is None:
        typer.echo(form.render(made, {}), nl=False)
        return
    try:
        pictures = draw_pictures(made, out) if getattr(form, "PICTURES", False) else {}
        atomic_write(out, lambda file: file.write(form.render(made, pictures).encode()))
    except OSError as error:
        raise SalcheckError(f"cannot write '{out}': {error.strerror}; name another with --out") from error


@app.command()
def methods() -> None:
    """List the methods. What each map is, what it costs, where it was published, what can be set."""
    from salcheck.methods import every
    from salcheck.screen.listing import print_methods

    print_methods(every())


@app.command()
def questions() -> None:
    """List the questions. What each asks and claims, where it comes from, what can be set."""
    from salcheck.screen.listing import print_questions

    print_questions(QUESTIONS.values())


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything it makes.", metavar="DIR")] = Path("salcheck-demo"),
) -> None:
    """Show the whole path in a minute. Needs no network and no data: scenes, maps, 200 images, a report."""
    from salcheck.screen.demo import run_demo

    run_demo(out)


@app.command()
def train(
    dataset: Annotated[
        str, typer.Option(help="scenes, puppets, mnist, cifar100 or folder (class folders).", metavar="NAME")
    ] = "scenes",
    data: Annotated[
        Path | None,
        typer.Option(help="Where it lies: DIR, or DIR/train for class folders; not for what is drawn.", metavar="DIR"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for config.json and model.safetensors.", metavar="DIR", show_default="the dataset's name"
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Batches of 48 images.", min=1, metavar="N", callback=_number, show_default="600 puppets, else 1600"
        ),
    ] = None,
    shuffle: Annotated[
        bool, typer.Option("--shuffle", help="Give images each other's labels: a control that can learn nothing true.")
    ] = False,
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:
    """Train a small model from nothing. The built-in ones, or your own; use it as --arch local-dir:DIR."""
    from salcheck.network.loading import pick_device
    from salcheck.training.fit import train as train_model

    folder_out = out or Path(registry.canonical("datasets", dataset) + "-shuffled" * shuffle)
    train_model(folder_out, steps, seed, device=str(pick_device(device)), dataset=dataset, data=data, shuffle=shuffle)


def _references(methods: Any, model: Any, reference: Path | None, batch_size: int) -> tuple[Any, Any, list[str]]:
    """The methods that can be used, what they read of held-out images, and notes on what must be done without."""
    from salcheck import references
    from salcheck.methods import fitting
    from salcheck.runs import evaluate as engine
    from salcheck.screen.terminal import progress
    from salcheck.store.cache import cache_folder

    held = None if reference is None else engine.open_data("folder", reference, model, 0)
    methods, notes = fitting(methods, model, held)
    needs = [need for method in methods for need in method.needs]
    if reference is None:
        without = [method.module.FALLBACK for method in methods if method.needs and hasattr(method.module, "FALLBACK")]
        notes += [f"no reference images (--reference DIR): {'; '.join(without)}"] if without else []
    with progress("reference", "images") as show:
        return methods, references.build(needs, model, held, cache_folder(), batch_size, show).values, notes


def main() -> None:
    """The entry point: a user's mistake is one line on stderr and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that the terminal cannot show is no reason to stop
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except SalcheckError as error:
        typer.echo(f"salcheck: {registry.one_line(error)}", err=True)
        sys.exit(2)
    except SystemExit as done:
        if done.code == 130:  # what typer makes of Ctrl-C
            typer.echo("salcheck: stopped; `eval` goes on where it was when it is called again", err=True)
        raise


if __name__ == "__main__":
    main()
