import pytest
import torch

from salcheck.network.fit import faults, told
from tests.nets import make_net


@pytest.fixture(scope="module")
def net():
    return make_net("test_resnet")


@pytest.fixture
def state(net):
    return {name: value.clone() for name, value in net.state_dict().items()}


def test_a_network_s_own_state_has_no_faults(net, state):
    assert faults(net, state) == {}
    assert faults(net, {name: value for name, value in state.items() if "num_batches" not in name}) == {}


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_will_do(net, state, kind):
    assert faults(net, {name: value.to(kind) for name, value in state.items()}) == {}


@pytest.mark.parametrize(
    "kind", [torch.int8, torch.uint8, torch.int64, torch.bool, torch.complex64, torch.float8_e4m3fn]
)
def test_numbers_that_are_no_floats_are_named(net, state, kind):
    state["fc.weight"] = state["fc.weight"].to(kind)
    name = str(kind).removeprefix("torch.")
    assert faults(net, state) == {"wrong kind of number": [f"fc.weight {name} for float32"]}


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_quantised_and_sparse_tensors_are_named(net, state):
    state["fc.weight"] = torch.quantize_per_tensor(state["fc.weight"], 0.1, 0, torch.qint8)
    state["fc.bias"] = state["fc.bias"].to_sparse()
    found = faults(net, state)["wrong kind of number"]
    assert found == ["fc.weight qint8 for float32", "fc.bias sparse float32 for float32"]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_are_named(net, state, number):
    state["bn1.running_var"][3] = number
    assert faults(net, state) == {"not finite": ["bn1.running_var"]}


def test_a_network_may_hold_infinite_numbers_of_its_own():
    net = torch.nn.Module()
    net.register_buffer("mask", torch.tensor([0.0, -float("inf")]))
    assert faults(net, {"mask": torch.tensor([0.0, -float("inf")])}) == {}


def test_buffers_that_count_are_counts_in_the_file():
    net = torch.nn.Module()
    net.register_buffer("index", torch.tensor([0, 1]))
    assert faults(net, {"index": torch.tensor([0, 1], dtype=torch.int32)}) == {}
    assert faults(net, {"index": torch.tensor([0.0, 1.0])}) == {"wrong kind of number": ["index float32 for int64"]}


def test_faults_are_told_with_their_number_and_the_first_three(net, state):
    for name in [name for name in state if name.startswith("layer1")]:
        del state[name]
    state["fc.weight"] = torch.ones(3, 96)
    line = told(faults(net, state))
    count = sum(name.startswith("layer1") and "num_batches" not in name for name in net.state_dict())
    assert line.startswith(f"{count} missing (layer1.0.conv1.weight, ")
    assert ", …); 1 wrong shape (fc.weight (3, 96) for (7, 96))" in line
