"""A password that was typed comes out nowhere: on the terminal, in the database, in a report."""

import pytest
import sqlalchemy as sa
from PIL import Image
from typer.testing import CliRunner

from salcheck.cli import make_app
from salcheck.naming import registry
from salcheck.naming.words import one_line, without_passwords
from tests.calls import salcheck

SECRET = "s3cr%40t%2Fword"  # s3cr@t/word
ASKED = ("eval", "rq1", "--arch", "scenes", "--data", ".", "-n", "1", "-m", "gradcam", "--all-images")
ASKED += ("--allow-overlap", "--reference", ".")
FORMATS = registry.names("formats")


def forms(port, name):
    """The arguments and the environment of every way to name the database."""
    urls = [
        f"postgresql://me:{SECRET}@127.0.0.1:{port}/{name}",
        f"postgres://me:{SECRET}@127.0.0.1:{port}/{name}",
        f"postgresql+psycopg://127.0.0.1:{port}/{name}?user=me&password={SECRET}",
    ]
    return [(["--db", urls[0]], {}), ([f"--db={urls[1]}"], {}), (["--db", "old.db", "--db", urls[2]], {})] + [
        ([], {"SALCHECK_DB": url}) for url in urls[:1]
    ]


def without(text):
    return not any(part in text for part in ("s3cr", "t/word", "t%2Fword"))


def everything_in(url):
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"), poolclass=sa.NullPool)
    with engine.connect() as connection:
        tables = sa.inspect(engine).get_table_names()
        return "\n".join(str(connection.execute(sa.text(f"SELECT * FROM {table}")).fetchall()) for table in tables)


def called(monkeypatch, words, environment):
    """What the command prints, called as a user types it."""
    monkeypatch.setattr("sys.argv", ["salcheck", *words])
    result = CliRunner().invoke(make_app(), words, env=environment)
    assert result.exit_code == 0, result.output
    return result.output


def test_no_way_to_name_the_database_stores_or_shows_its_password(postgres, monkeypatch, tmp_path):
    url = postgres.create()
    name = sa.make_url(url).database
    postgres.execute("CREATE ROLE me LOGIN SUPERUSER PASSWORD 's3cr@t/word'")
    Image.new("RGB", (64, 64), "red").save(tmp_path / "one.png")
    for seed, (arguments, environment) in enumerate(forms(postgres.port, name)):
        made = called(monkeypatch, [*ASKED, "--seed", str(seed), *arguments], environment)
        assert "Next: salcheck report --run" in made
        said = [called(monkeypatch, ["report", "--format", form, *arguments], environment) for form in FORMATS]
        assert without("".join([made, *said]))
    stored = everything_in(url)
    assert without(stored)
    assert stored.count("salcheck eval rq1") == 4
    assert stored.count(f"127.0.0.1:{postgres.port}/{name}") == 3  # the environment is no part of the command


@pytest.mark.parametrize(
    "words",
    [
        ["report", "postgresql://me:s3cr@h/d"],
        ["postgresql://me:s3cr@h/d"],
        ["eval", "postgresql://me:s3cr@h/d"],
        ["eval", "rq1", "-n", "postgresql://me:s3cr@h/d"],
        ["eval", "rq1", "--dbb=postgresql://me:s3cr@h/d"],
        ["report", "--format", "postgresql://me:s3cr@h/d"],
        ["report", "--db", "postgresql://me:s3cr@127.0.0.1:1/d"],
        ["report", "--db", "host=h password=s3cr"],
        ["report", "host=h password=s3cr"],
    ],
)
def test_a_url_in_the_wrong_place_is_not_shown_with_its_password(words):
    said = salcheck(*words)
    assert said.returncode == 2
    assert "s3cr" not in said.stdout + said.stderr


def test_only_passwords_are_taken_out():
    same = ["cat@2x.png", "/data//cat@2x.png", "hf-hub:org/name@main", "see https://timm.fast.ai"]
    assert [without_passwords(text) for text in same] == same
    assert one_line("cannot open postgresql://me:a b@h/d?sslmode=x") == "cannot open postgresql://***@h/d?sslmode=x"
    assert without_passwords("host=h password = 'a b' user=u") == "host=h password = *** user=u"
