import torch

from salcheck.maps.channels import weighted_sum


def test_each_channel_counts_by_its_own_weight():
    generator = torch.Generator().manual_seed(0)
    weights, acts = torch.randn(2, 3, 4, generator=generator), torch.randn(2, 4, 5, 6, generator=generator)
    maps = weighted_sum(weights, acts)
    assert maps.shape == (2, 3, 5, 6)
    for b, m, i, j in [(0, 0, 0, 0), (1, 2, 4, 5), (0, 1, 3, 2), (1, 0, 2, 4)]:
        expected = sum(weights[b, m, n] * acts[b, n, i, j] for n in range(4))
        assert torch.allclose(maps[b, m, i, j], expected, atol=1e-6)
