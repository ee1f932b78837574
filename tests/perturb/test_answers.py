import pytest
import torch

from salcheck.perturb import answers
from salcheck.perturb.answers import Memory, ask, clean
from salcheck.perturb.canvas import canvas, remover, veiler
from tests.linear import LinearNet, linear_view
from tests.nets import make_images, make_net, make_view

H, W = 5, 7
CLASSES = torch.tensor([[0, 2], [1, 1], [2, 0]])


@pytest.fixture
def net():
    return LinearNet(torch.randn(3, 3, H, W, generator=torch.Generator().manual_seed(0)))


@pytest.fixture
def view(net):
    """Three images, the first two of them alike; the forward of the images as they are is done."""
    images = torch.rand(3, 3, H, W, generator=torch.Generator().manual_seed(1))
    images[1] = images[0]
    view = linear_view(net, images, batch_size=4)
    assert view.logits.shape == (3, 3)
    net.forwarded.clear()
    return view


def sets_of(*pixels: int) -> torch.Tensor:
    """Masks (J, H, W), each of one pixel."""
    return torch.nn.functional.one_hot(torch.tensor(pixels), H * W).bool().view(-1, H, W)


@pytest.fixture
def memory():
    return Memory()


def asked(view, memory, of, masks, how="remove mean", classes=CLASSES):
    """The answers, with the fill that `how` names."""
    return ask(view, memory, classes, torch.tensor(of), lambda jobs: masks[jobs], remover(view, how.split()[1]), how)


def plain(view, of, masks, fill="mean", classes=CLASSES):
    """Logits and softmax (J, M) of images made one by one."""
    rows = []
    for index, mask in zip(of, masks, strict=True):
        image = torch.where(mask, canvas(view, fill)[index], view.images[index])
        scores = view.net.forward_head(image[None])[0]
        rows.append([scores[classes[index]], scores.softmax(0)[classes[index]]])
    return [torch.stack(part) for part in zip(*rows, strict=True)]


def test_answers_are_those_of_plain_forwards(view, memory):
    of, masks = [2, 0, 0, 1, 2, 2], sets_of(3, 4, 5, 3, 30, 9)
    found = asked(view, memory, of, masks)
    logits, softmax = plain(view, of, masks)
    assert found.logits.numpy() == pytest.approx(logits.numpy(), abs=1e-5)
    assert found.softmax.numpy() == pytest.approx(softmax.numpy(), abs=1e-5)
    assert found.output("logit") is found.logits
    assert found.output("softmax") is found.softmax
    assert view.net.forwarded == [4, 2]


def test_answers_of_a_real_network_are_those_of_plain_forwards():
    view = make_view(make_net("test_resnet"), make_images(count=2, side=40))
    classes, of = torch.tensor([[0], [5]]), torch.tensor([1, 0, 1])
    masks = torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(0))
    found = ask(view, Memory(), classes, of, lambda jobs: masks[jobs], veiler(view, "mean"), "veil mean")
    logits = view.net(view.images[of] * masks[:, None])
    assert found.logits.numpy() == pytest.approx(logits.gather(1, classes[of]).numpy(), abs=1e-5)
    assert found.softmax.numpy() == pytest.approx(logits.softmax(1).gather(1, classes[of]).numpy(), abs=1e-5)


def test_equal_jobs_of_a_call_are_forwarded_once_and_answer_each(view, memory):
    found = asked(view, memory, [0, 2, 0, 0, 2], sets_of(3, 3, 3, 4, 3))
    assert view.net.forwarded == [3]
    logits, _ = plain(view, [0, 2, 0, 0, 2], sets_of(3, 3, 3, 4, 3))
    assert found.logits.numpy() == pytest.approx(logits.numpy(), abs=1e-5)


def test_what_an_earlier_call_asked_is_not_forwarded_again(view, memory):
    first = asked(view, memory, [0, 2], sets_of(3, 4))
    again = asked(view, memory, [2, 0, 2], sets_of(4, 3, 5))
    assert view.net.forwarded == [2, 1]
    assert torch.equal(again.logits[:2], first.logits.flip(0))
    assert torch.equal(again.softmax[:2], first.softmax.flip(0))
    asked(view, memory, [2, 0], sets_of(5, 3))
    assert view.net.forwarded == [2, 1]


def test_a_mask_is_of_its_image_and_of_its_way_to_be_filled(view, memory):
    """Images 0 and 1 are alike, and still two: nobody has compared them."""
    mask = sets_of(3)
    found = [
        asked(view, memory, [image], mask, how).logits for image in (0, 1, 2) for how in ("remove mean", "remove grey")
    ]
    assert view.net.forwarded == [1] * 6
    expected = [plain(view, [image], mask, fill)[0] for image in (0, 1, 2) for fill in ("mean", "grey")]
    assert torch.cat(found).numpy() == pytest.approx(torch.cat(expected).numpy(), abs=1e-5)


def test_other_classes_are_answered_for_themselves(view, memory):
    others = CLASSES.flip(1)
    for classes in (CLASSES, others, CLASSES[:, :1]):
        found = asked(view, memory, [2, 0], sets_of(3, 4), classes=classes)
        assert found.logits.numpy() == pytest.approx(
            plain(view, [2, 0], sets_of(3, 4), classes=classes)[0].numpy(), abs=1e-5
        )


def test_images_as_they_are_are_forwarded_once_for_all(net, memory):
    view = linear_view(net, torch.rand(3, 3, H, W))
    first = clean(view, CLASSES)
    asked(view, memory, [0], sets_of(3))
    assert torch.equal(clean(view, CLASSES).softmax, first.softmax)
    assert net.forwarded == [3, 1]
    logits = net.forward_head(view.images)
    assert torch.equal(first.logits, logits.gather(1, CLASSES))
    assert torch.equal(first.softmax, logits.softmax(1).gather(1, CLASSES))


def test_masks_and_images_are_made_a_chunk_at_a_time(view):
    sizes = []

    def paint(of, masks):
        sizes.append(len(of))
        return view.images[of] * ~masks[:, None]

    masks, made = sets_of(*range(30)), []
    some = torch.zeros(30, dtype=torch.long)
    ask(view, Memory(), CLASSES, some, lambda jobs: made.append(len(jobs)) or masks[jobs], paint, "x")
    assert max(sizes) == view.batch_size and sum(sizes) == 30
    assert max(made) <= 64


def test_out_of_memory_the_chunk_halves_and_all_is_answered(view, memory):
    view.net.most = 2
    of, masks = [0, 1, 2, 0, 1], sets_of(1, 2, 3, 4, 5)
    found = asked(view, memory, of, masks)
    assert view.net.forwarded == [2, 2, 1]
    assert found.logits.numpy() == pytest.approx(plain(view, of, masks)[0].numpy(), abs=1e-5)


def test_an_interrupted_call_leaves_nothing_half_answered(view, memory):
    view.net.most = 0
    with pytest.raises(torch.OutOfMemoryError):
        asked(view, memory, [0, 1], sets_of(1, 2))
    view.net.most = None
    assert asked(view, memory, [0, 1], sets_of(1, 2)).logits.isfinite().all()


def test_fingerprints_tell_masks_apart_that_differ_in_one_value():
    masks = torch.rand(1, H, W, generator=torch.Generator().manual_seed(0)).repeat(2 * H * W + 1, 1, 1)
    for pixel in range(H * W):
        flat = masks.view(-1, H * W)
        flat[1 + pixel, pixel] = torch.nextafter(flat[0, pixel], torch.tensor(2.0))
        flat[1 + H * W + pixel, pixel] = torch.nextafter(flat[0, pixel], torch.tensor(-1.0))
    marks = answers._fingerprint(masks)
    assert len(set(marks.tolist())) == len(masks)
    assert torch.equal(marks, answers._fingerprint(masks.clone()))


def test_fingerprints_tell_sets_apart_and_where_values_lie():
    sets = torch.cat(
        [sets_of(*range(H * W)), torch.zeros(1, H, W, dtype=torch.bool), torch.ones(1, H, W, dtype=torch.bool)]
    )
    assert len(set(answers._fingerprint(sets).tolist())) == H * W + 2
    one = torch.rand(1, H, W)
    assert answers._fingerprint(one).item() != answers._fingerprint(one.flip(1)).item()
    assert answers._fingerprint(one.double()).item() == answers._fingerprint(one).item()


def test_fingerprints_tell_all_sets_of_a_small_picture_apart():
    sets = (torch.arange(2**16)[:, None] >> torch.arange(16)) % 2 == 1
    assert answers._fingerprint(sets.view(-1, 4, 4)).unique().numel() == 2**16


def test_a_memory_makes_what_it_is_asked_for_once_and_another_memory_makes_its_own(memory):
    made = []

    def make():
        made.append(len(made))
        return made[-1]

    assert [memory.once("a", make), memory.once("a", make), memory.once("b", make)] == [0, 0, 1]
    assert Memory().once("a", make) == 2


def test_another_memory_knows_nothing_of_what_was_asked(view):
    found = [asked(view, Memory(), [0, 2], sets_of(3, 4)).logits for _ in range(2)]
    assert view.net.forwarded == [2, 2]
    assert torch.equal(*found)
