import dataclasses

import pytest
import timm
import torch
from torch import nn

from salcheck.network.loading import load_model
from salcheck.network.randomise import parts, random_models
from tests.makers import save_model
from tests.nets import FAMILIES, make_images, make_net

RESNET = ["fc", "layer4", "layer3", "layer2", "layer1", "stem"]
NAMES = {
    "test_resnet": RESNET,
    "test_convnext": ["head.fc", "stages.3", "stages.2", "stages.1", "stages.0", "stem"],
    "test_efficientnet": ["classifier", "blocks.4", "blocks.3", "blocks.2", "blocks.1", "blocks.0", "stem"],
    "test_vit": ["head", "blocks.5", "blocks.4", "blocks.3", "blocks.2", "blocks.1", "blocks.0", "stem"],
    "test_vit2": ["head", "blocks.1", "blocks.0", "stem"],
    "test_vit3": ["head", "attn_pool", "blocks.1", "blocks.0", "stem"],
    "densenet121": ["classifier", *(f"features.denseblock{k}" for k in (4, 3, 2, 1)), "stem"],
    "swin_tiny_patch4_window7_224": ["head", "layers.1", "layers.0", "patch_embed"],
    "vgg": ["head", "pre_logits", "features.8", "features.4", "stem"],
    "mobilenetv3": ["classifier", "conv_head", "blocks.2", "blocks.1", "blocks.0", "stem"],
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(save_model(tmp_path_factory.mktemp("made")), device="cpu")


@pytest.fixture(scope="module")
def others(model):
    return random_models(model)


def of(model):
    return model.net.state_dict(keep_vars=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_parts_go_from_the_head_to_the_input_and_hold_every_tensor_once(family):
    net = make_net(family)
    found = parts(net)
    assert list(found) == NAMES[family]
    assert sorted(name for part in found.values() for name in part) == sorted(net.state_dict())


def test_a_vit_keeps_its_norm_with_the_last_block_and_its_tokens_with_the_stem():
    found = parts(make_net("test_vit"))
    assert "norm.weight" in found["blocks.5"]
    assert {"cls_token", "pos_embed", "patch_embed.proj.weight"} <= set(found["stem"])
    assert found["head"] == ["head.weight", "head.bias"]


def test_batch_statistics_belong_to_the_part_of_their_norm():
    found = parts(make_net("densenet121"))
    assert "features.norm5.running_mean" in found["features.denseblock4"]
    assert found["classifier"] == ["classifier.weight", "classifier.bias"]


def test_a_net_without_a_head_or_without_timms_grouping_has_parts_too():
    assert list(parts(make_net("test_vit", 0))) == NAMES["test_vit"][1:]
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    assert parts(plain) == {
        "3": ["3.weight", "3.bias"],
        "stem": [name for name in plain.state_dict() if not name.startswith("3")],
    }


def test_neighbours_are_joined_but_the_head_stays_alone():
    net = make_net("test_resnet")
    assert list(parts(net, 3)) == ["fc", "layer4 to layer3", "layer2 to stem"]
    assert list(parts(net, 2)) == ["fc", "layer4 to stem"]
    assert list(parts(net, 6)) == list(parts(net, 60)) == RESNET
    assert sorted(name for part in parts(net, 3).values() for name in part) == sorted(net.state_dict())


def test_parts_lose_their_weights_one_after_another_and_each_alone(model, others):
    assert list(others) == [*RESNET, *(f"{name} alone" for name in RESNET[1:])]
    groups, trained = parts(model.net), of(model)
    random = of(others["stem"])
    for k, name in enumerate(RESNET):
        lost = {one for part in RESNET[: k + 1] for one in groups[part]}
        for subject, gone in ((name, lost), (f"{name} alone" if k else name, set(groups[name]))):
            for one, tensor in of(others[subject]).items():
                assert tensor is (random if one in gone else trained)[one]
    assert all(tensor is not trained[name] for name, tensor in random.items())


def test_all_of_them_take_one_more_network_of_memory(model, others):
    held = {tensor.data_ptr(): tensor.numel() for one in (model, *others.values()) for tensor in of(one).values()}
    assert sum(held.values()) == 2 * sum(tensor.numel() for tensor in of(model).values())


def test_the_trained_model_stays_as_it_was(tmp_path):
    made = load_model(save_model(tmp_path), device="cpu")
    before = {name: tensor.clone() for name, tensor in of(made).items()}
    state = torch.get_rng_state()
    for one in random_models(made).values():
        one.net(make_images())
    assert all(tensor.equal(before[name]) for name, tensor in of(made).items())
    assert torch.get_rng_state().equal(state)


def test_each_is_a_model_of_its_own_and_the_same_every_time(model, others):
    keys = {name: one.key for name, one in others.items()}
    assert len({*keys.values(), model.key}) == len(keys) + 1
    torch.manual_seed(5)
    again, anew = random_models(model), random_models(model, draw=1)
    assert {name: one.key for name, one in again.items()} == keys
    assert not {one.key for one in anew.values()} & set(keys.values())
    for name, one in others.items():
        assert all(tensor.equal(of(again[name])[key]) for key, tensor in of(one).items())
    assert not of(anew["fc"])["fc.weight"].equal(of(others["fc"])["fc.weight"])
    assert {
        field.name
        for field in dataclasses.fields(model)
        if getattr(model, field.name) != getattr(again["fc"], field.name)
    } == {"net", "weights"}


def test_weights_are_those_of_an_untrained_module(model, others):
    """PyTorch's own: uniform within 1 / sqrt(fan-in); batch norms as if they had seen nothing."""
    random, net = of(others["stem"]), others["stem"].net
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            bound = module.weight[0].numel() ** -0.5
            assert module.weight.abs().max() <= bound
            assert module.weight.std() == pytest.approx(bound / 3**0.5, rel=0.2)
        if isinstance(module, nn.BatchNorm2d):
            assert module.weight.eq(1).all()
            assert module.running_var.eq(1).all()
            assert not module.bias.any()
            assert not module.running_mean.any()
    assert len(random) == len(of(model))


@pytest.mark.parametrize("family", ["test_vit2", "test_vit3", "test_convnext"])
def test_tokens_and_layer_scale_have_the_mean_and_deviation_of_the_trained(family, scenes_model):
    torch.manual_seed(1)
    net = make_net(family)
    for name, tensor in net.named_parameters():
        if tensor.dim() != 2 and not name.endswith("bias"):
            tensor.normal_(0.5, 0.25)  # an untrained layer scale is constant
    random = of(random_models(dataclasses.replace(scenes_model, net=net, weights="made"))["stem"])
    checked = 0
    for name, tensor in net.named_parameters():
        if name.endswith(("token", "pos_embed", "latent", "gamma")):
            assert not random[name].equal(tensor)
            error = 5 * float(tensor.std()) / tensor.numel() ** 0.5
            assert float(random[name].mean()) == pytest.approx(float(tensor.mean()), abs=error)
            assert float(random[name].std()) == pytest.approx(float(tensor.std()), abs=error)
            checked += 1
    assert checked >= 4


def test_a_hook_is_shared_and_not_copied(model):
    class Counter:
        seen = 0

        def __call__(self, *_):
            self.seen += 1

        def __deepcopy__(self, memo):
            raise AssertionError("copied")

    counter = Counter()
    hook = model.net.conv1.register_forward_hook(counter)
    random_models(model, 2)["fc"].net(make_images())
    hook.remove()
    assert counter.seen == 1


@pytest.mark.parametrize("family", ["test_resnet", "test_vit", "densenet121", "vgg"])
def test_nothing_overflows_and_scores_still_differ_between_classes(family, scenes_model):
    net = make_net(family)
    images = make_images(side={"test_vit": 160}.get(family, 56))
    for one in random_models(dataclasses.replace(scenes_model, net=net, weights="made")).values():
        logits = one.net(images)
        assert logits.isfinite().all()
        assert logits.std(dim=1).min() > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet50.pqf_in1k", "vit_tiny_patch16_224.augreg_in21k_ft_in1k"])
def test_real_networks_with_random_weights_stay_finite(name, shared):
    trained = load_model(f"local-dir:{shared / 'models' / name}", device="cpu")
    for one in random_models(trained, 4).values():
        logits = one.net(make_images(1, 224))
        assert logits.isfinite().all()
        assert 1e-3 < logits.std() < 100


def test_timm_still_groups_as_this_reads_it():
    assert list(parts(timm.create_model("convnext_atto"))) == [
        "head.fc",
        *(f"stages.{k}" for k in (3, 2, 1, 0)),
        "stem",
    ]
