from salcheck.naming import registry
from tests.calls import run


def test_methods_lists_every_one_with_cost_source_and_parameters():
    shown = " ".join(run("methods").stdout.split())
    for name in registry.names("methods"):
        assert f" {name}: " in shown
    assert "gradcam: Grad-CAM: channels weighted by the mean gradient of the class score. cost M head" in shown
    assert "contrast=confusion (or logits, random" in shown
    assert "group=knn (or others, same, pair, class:NAME (several joined by +), images:DIR)" in shown
    assert "cost C + 1 forwards; Wang et al." in shown
