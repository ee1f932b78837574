import pytest
import sqlalchemy as sa

from salcheck.errors import SalcheckError
from salcheck.store.results import Store
from salcheck.store.urls import parse, shown

SPELLINGS = [
    "postgresql://me:secret@127.0.0.1:1/name",
    "postgres://me:secret@127.0.0.1:1/name",
    "postgresql+psycopg://me:secret@127.0.0.1:1/name",
    "postgresql+psycopg2://me:secret@127.0.0.1:1/name",
    "postgresql+nonsense://me:secret@127.0.0.1:1/name",
    "postgresql://me@127.0.0.1:1/name?password=secret",
    "postgresql://me@127.0.0.1:1/name?connect_timeout=3&sslpassword=secret&password=secret",
    "postgresql:///name?host=127.0.0.1&port=1&user=me&password=secret",
    "postgresql://127.0.0.1:1/name?pasword=secret",  # misspelt: libpq refuses it
    "postgresql://me:a%40secret%2F@127.0.0.1:1/name",
    "postgresql://me:a/secret@127.0.0.1:1/name",
    "postgresql://me:a#?&secret@127.0.0.1:1/name",
    "postgresql://me:a@secret@127.0.0.1:1/name",
    "postgresql://me:a@secret/b@127.0.0.1:1/name",
    "postgresql://me:a@b?secret@127.0.0.1:1/name",
    "postgresql://me:secret@127.0.0.1:port/name",
    "postgresql://me:secret",
    "postgresql:me:secret@127.0.0.1/name",
    "postgresql//me:secret@127.0.0.1/name",
    "me:secret@127.0.0.1/name",
    "host=127.0.0.1 port=1 user=me password=secret dbname=name",
    "password = 'secret' dbname=name",
    "mysql://me:secret@127.0.0.1/name",
    "nonsense://me:secret@127.0.0.1/name?password=secret",
]


@pytest.mark.parametrize("db", SPELLINGS)
def test_no_spelling_of_a_password_comes_out_again(db, tmp_path):
    with pytest.raises(SalcheckError) as error:
        Store(db).close()
    chain, seen = error.value, []
    while chain is not None:  # what a traceback would show
        seen.append(f"{chain!r} {chain}")
        chain = chain.__cause__ or (None if chain.__suppress_context__ else chain.__context__)
    assert "secret" not in "".join(seen)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())  # no file of this name was made


@pytest.mark.parametrize(
    ("db", "password"),
    [
        ("postgresql://u:p%40ss%2Fw@h:5/d", "p@ss/w"),
        ("postgresql://u:p/s:s@h:5/d", "p/s:s"),
        ("postgresql://u%40tenant:p@h:5/d", "p"),
        ("postgres://u:p@h:5/d?sslmode=require", "p"),
    ],
)
def test_a_password_is_still_used(db, password):
    url = parse(db)
    assert (url.password, url.host, url.port, url.database) == (password, "h", 5, "d")
    assert url.drivername == "postgresql+psycopg"
    assert password not in shown(db).replace("postgresql", "").replace("postgres", "") or password == "p"


def test_what_is_shown_says_where_the_database_is():
    assert shown("postgresql://me:secret@h:5/d?sslmode=require") == "postgresql://me:***@h:5/d"
    assert shown("postgresql:///d?host=/tmp&password=secret") == "postgresql:///d?host=%2Ftmp"
    assert shown("salcheck.db") == "salcheck.db"
    assert shown("sqlite:///a@b.db?mode=ro") == "sqlite:///a@b.db?mode=ro"


@pytest.mark.parametrize("file", ["a@b.db", "C:\\me@home\\a.db", "x=1.db", "my host.db", "sqlite:///a@b.db"])
def test_a_file_may_be_called_like_this(file):
    assert parse(file).get_backend_name() == "sqlite"


def test_a_server_that_asks_for_a_password_gets_it(postgres):
    name = sa.make_url(postgres.create()).database
    postgres.execute("""CREATE ROLE "me@home" LOGIN PASSWORD 'p@ss/w:rd?' """)
    postgres.execute(f'ALTER DATABASE {name} OWNER TO "me@home"')
    Store(f"postgresql://me%40home:p%40ss%2Fw%3Ard%3F@127.0.0.1:{postgres.port}/{name}").close()
