from __future__ import annotations

import numpy as np
import pytest
import torch

from mpc_router.routers._output_features import output_features, output_width, sure_features


def test_two_classes_give_what_the_signed_margin_gives() -> None:
    """Five functions of the signed margin lie in the span of the features and a constant."""
    outputs = torch.randn(50, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    features = output_features(outputs, regression=False)
    assert features.shape == (50, output_width(2, regression=False))
    signed = outputs[:, 1] - outputs[:, 0]
    positive = (signed > 0).double()
    wanted = torch.stack([signed, signed.abs(), signed.square(), positive, positive * signed], 1)
    basis = torch.cat([features, torch.ones(50, 1, dtype=torch.float64)], 1)
    solved = basis @ torch.linalg.pinv(basis) @ wanted
    assert solved.numpy() == pytest.approx(wanted.numpy(), abs=1e-9)


def test_features_do_not_change_where_all_logits_move_together() -> None:
    outputs = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    moved = output_features(outputs + 3, regression=False)
    assert torch.allclose(moved, output_features(outputs, regression=False), atol=1e-5)


def test_a_value_gives_itself_and_its_square() -> None:
    features = output_features(torch.tensor([[2.0], [-3.0]]), regression=True)
    assert np.array_equal(features.numpy(), [[2, 4], [-3, 9]])


def test_how_sure_an_expert_is_has_its_margin_beside_the_class() -> None:
    sure = sure_features(torch.tensor([[1.0, 3.5], [2.0, 0.0]]))
    assert sure.tolist() == [[0, 1, 0, 2.5], [1, 0, 2, 0]]
