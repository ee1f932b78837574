from tests.calls import run
from tests.makers import save_images


def test_it_trains_into_a_folder_of_the_datasets_name(tmp_path):
    data = save_images(tmp_path / "images", classes=2, side=32)
    given = ["train", "--dataset", "folder", "--data", data, "--steps", "2"]
    for more, out in ((), "folder"), (("--shuffle",), "folder-shuffled"), (("--out", "mine"), "mine"):
        shown = run(*given, *more)
        assert (tmp_path / out / "config.json").is_file()
        assert "accuracy" in shown.output
        assert "training" in shown.output
