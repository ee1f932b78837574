import pytest
import torch

from salcheck.network.places import best, left_out, places

NAMES = ("a.weight", "a.bias", "b.weight", "b.bias")


def under(*prefixes, start=0.0):
    return {f"{p}{name}": torch.full((2,), start + i) for i, p in enumerate(prefixes) for name in NAMES}


def found(tensors, averaged=()):
    return best([(p, len(set(NAMES) & p.tensors.keys())) for p in places(tensors, averaged, 2)])


@pytest.mark.parametrize(
    "prefix", ["", "model.", "module.", "net.", "state_dict.model.module.", "a.", "backbone.encoder.x.y.0."]
)
def test_the_one_prefix_is_found_whatever_it_is(prefix):
    (place,) = found(under(prefix) | {"criterion.weight": torch.ones(1), "step": torch.ones(1)})
    assert place.prefix == prefix
    assert set(NAMES) <= place.tensors.keys()
    assert not place.averaged


@pytest.mark.parametrize(
    "prefix",
    ["model._orig_mod.", "_orig_mod.module.", "module._fsdp_wrapped_module.", "_fsdp_wrapped_module._orig_mod."],
)
def test_pytorch_s_wrappers_are_taken_out_wherever_they_are(prefix):
    (place,) = found(under(prefix))
    assert set(NAMES) <= place.tensors.keys()
    assert place.wrappers
    inner = {name.replace("a.", "a._orig_mod."): value for name, value in under("model.").items()}
    (place,) = found(inner)
    assert place.tensors.keys() == set(NAMES)
    assert place.name == "'model' (without _orig_mod)"
    assert left_out(inner, place, place.tensors) == ""


@pytest.mark.parametrize(
    "prefix",
    ["state_dict_ema.", "model_ema.", "ema_state_dict.", "ema.", "ema_model.", "swa_model.module.", "EMA.shadow."],
)
def test_averaged_weights_are_known_by_a_name(prefix):
    places_found = found(under(prefix, "plain."))
    assert {place.prefix: place.averaged for place in places_found} == {prefix: True, "plain.": False}


def test_words_in_other_words_say_nothing():
    assert not any(place.averaged for place in found(under("schema.", "demand.", "averagepooler.")))


def test_the_innermost_name_says_it():
    both = found(under("ema.online_model.", "ema.ema_model."))
    assert {place.prefix: place.averaged for place in both} == {"ema.online_model.": False, "ema.ema_model.": True}


def test_averaged_weights_are_known_by_what_stands_beside_them():
    (place,) = found(under("swap.module.") | {"swap.n_averaged": torch.ones(1)})
    assert place.averaged
    (place,) = found(under("state_dict."), averaged=("state_dict",))
    assert place.averaged


def test_the_same_weights_twice_are_one_set():
    twice = under("model.") | under("net.")
    assert len(found(twice)) == 1
    assert len(found(under("model.", "net."))) == 2


def test_moco_s_encoder_stands_before_its_momentum_encoder():
    (place,) = found(under("module.base_encoder.", "module.momentum_encoder."))
    assert place.prefix == "module.base_encoder."


def test_what_is_left_out_is_counted_by_the_shortest_name_that_tells():
    tensors = under("state_dict.model.") | {
        "state_dict.model.extra": torch.ones(1),
        "state_dict.criterion.weight": torch.ones(1),
        "optimizer.state.0.m": torch.ones(1),
        "optimizer.state.1.m": torch.ones(1),
        "step": torch.ones(1),
    }
    (place,) = found(tensors)
    said = left_out(tensors, place, NAMES)
    assert said == "state_dict.model.extra (1), state_dict.criterion (1), optimizer (2), step (1)"
