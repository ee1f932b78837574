import numpy as np
import pytest
import torch

from salcheck.diagnostics import Seen
from salcheck.diagnostics.channels import score, subjects
from salcheck.questions import QUESTIONS
from salcheck.runs.asking import parse_question
from tests.nets import make_images, make_net, make_view
from tests.runs.test_evaluate import Bench, save_images, save_model


class Acts:
    """As much of a view as is read: activations."""

    def __init__(self, acts):
        self.acts = acts

    def __len__(self):
        return len(self.acts)


def ask(*acts, **parameters):
    given = [Seen(str(k), Acts(one), None, None) for k, one in enumerate(acts)]
    B = len(acts[0])
    nothing = torch.zeros(B, 0, dtype=torch.long)
    return score(Acts(acts[0]), nothing, torch.zeros(B, 0, 1, 1), subjects=given, **parameters)


def by_mean(*means):
    """Activations of one image whose channels have these means, not one of them at its mean."""
    return torch.stack([torch.tensor([[m - 1.0, m + 1.0], [m + 3.0, m - 3.0]]) for m in means])[None].double()


@pytest.mark.oracle
def test_shares_by_hand():
    found = ask(by_mean(0.5, 0.02, 0.006, 0.0005, 0.0, -0.3, 0.045, 0.2))
    shares = {name: 8 * value.item() for name, value in found.values.items()}
    assert shares == pytest.approx(
        {"active": 5, "active_0": 6, "active_001": 4, "active_01": 2, "active_relative": 2, "channels": 64}
    )


def test_tau_moves_one_metric_alone():
    acts = by_mean(0.5, 0.02, 0.006, 0.0005, 0.0, -0.3, 0.045, 0.2)
    plain, high = ask(acts).values, ask(acts, tau=0.1).values
    assert high["active"].item() == plain["active_01"].item() == 2 / 8
    assert all(high[name].equal(plain[name]) for name in plain if name != "active")


def test_a_tenth_of_the_highest_is_of_each_image_and_never_below_zero():
    acts = torch.cat([by_mean(10.0, 1.5, 0.5, -1.0), by_mean(0.1, 0.015, 0.02, -1.0), by_mean(-1.0, -2.0, -3.0, -0.01)])
    assert ask(acts).values["active_relative"].tolist() == [[0.5], [0.75], [0.0]]


def test_every_level_is_a_layer_of_the_network():
    net, images = make_net("test_resnet"), make_images(side=64)
    layers = ("layer1", "layer4")
    given = [Seen(name, make_view(net, images, name), None, None) for name in layers]
    found = score(given[0].view, torch.zeros(3, 0, dtype=torch.long), torch.zeros(3, 0, 1, 1), tau=0.05, subjects=given)
    assert found.levels == [1, 2]
    outputs = {}
    hooks = [
        net.get_submodule(name).register_forward_hook(lambda m, a, out, name=name: outputs.update({name: out.numpy()}))
        for name in layers
    ]
    net(images)
    for hook in hooks:
        hook.remove()
    for k, name in enumerate(layers):
        means = outputs[name].astype(float).mean((2, 3))
        np.testing.assert_allclose(found.values["active"][:, k], (means > 0.05).mean(1), rtol=1e-6)
        assert found.values["channels"][:, k].tolist() == [means.shape[1]] * 3
    assert 0 < found.values["active"].mean() < 1


def test_activations_that_are_not_finite_have_no_shares():
    acts = torch.cat([by_mean(0.5, 0.2), by_mean(0.5, 0.2)])
    acts[1, 0, 0, 0] = float("nan")
    found = ask(acts)
    for value in found.values.values():
        assert value.isnan().flatten().tolist() == [False, True]


def test_layers_are_those_of_the_question_layers(scenes_model):
    assert list(subjects(scenes_model, tau=0.1)) == ["act1", "layer1", "layer2", "layer3", "features"]
    assert list(subjects(scenes_model, at=("layer2",))) == ["layer2"]


def test_asked_through_the_engine_without_a_method(tmp_path):
    save_model(tmp_path / "model")
    save_images(tmp_path / "images")
    bench = Bench(tmp_path, tmp_path)
    bench.ask(question="channels:at=layer2+features", methods="gradcam", n=4)
    rows = bench.rows()
    assert {row[1] for row in rows} == {"model"}
    assert {row[2] for row in rows} == set(QUESTIONS["channels"].metrics)
    assert len(rows) == 4 * 6 * 2
    assert {row[3] for row in rows} == {1.0, 2.0}
    assert all(row[4] is not None for row in rows)
    assert parse_question("channels").parameters == {"tau": 0.001, "at": ()}
