"""CAM: activations weighted with the classifier's own row for the class.

Zhou et al., CVPR 2016, equation 2:

    map[i, j] = sum over n of W[u, n] * A[n, i, j]

W is the weight of the linear classifier that reads the channel means of A. Signed: the paper has no ReLU. The mean
of a map plus the classifier's bias is the logit. It equals h * w times Grad-CAM before its ReLU. No departures; the
method exists only where pooling and one linear layer follow the layer, which is found by trying.
"""

from typing import Any

import torch
from torch import Tensor, nn

from salcheck.maps.channels import weighted_sum
from salcheck.methods._cost import Cost
from salcheck.network.model import Model
from salcheck.network.view import FEATURES, View

SOURCE = "Zhou et al., CVPR 2016"
COST = Cost()


def saliency(view: View, classes: Tensor) -> Tensor:
    """CAM maps (B, M, h, w), signed, for classes (B, M)."""
    rows = view.outputs.scores(view.net.get_classifier().weight.float().T).T[classes]
    return weighted_sum(rows, view.acts)


def total(view: View, classes: Tensor) -> Tensor:
    """What the maps sum to (B, M): the logits less the classifier's bias, h * w times, for the classifier reads means.

    The paper's section 2 has it without h * w and without bias: there features are summed, and the bias is left out.
    """
    bias, logits = view.net.get_classifier().bias, view.logits.gather(1, classes)
    return view.acts[0, 0].numel() * (logits if bias is None else logits - view.outputs.scores(bias.float())[classes])


def unfit(model: Model) -> str | None:
    """Why the layer is not followed by mean pooling and one linear layer; None where it is."""
    if not _pools_into_classifier(model.net):
        return "this model's head is not mean pooling and one linear layer; gradcam and hirescam need neither"
    if model.layer != FEATURES:
        return f"it weighs what the head pools, and that is not {model.layer}; gradcam and hirescam fit any layer"
    return None


@torch.no_grad()
def _pools_into_classifier(net: Any) -> bool:
    """Whether the head gives random features the scores that the classifier gives their channel means."""
    classifier = net.get_classifier()
    if not isinstance(classifier, nn.Linear):
        return False
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, classifier.in_features, 3, 3, generator=generator).to(classifier.weight)
    expected = classifier(maps.mean(dim=(-2, -1)))
    tokens = nn.functional.pad(maps.flatten(2).transpose(1, 2), (0, 0, getattr(net, "num_prefix_tokens", 0), 0))
    for features in (maps, maps.permute(0, 2, 3, 1), tokens):
        try:
            scores = net.forward_head(features)
        except Exception:  # heads raise all sorts on another family's layout
            continue
        if scores.shape == expected.shape and torch.allclose(scores, expected, rtol=1e-3, atol=1e-5):
            return True
    return False
