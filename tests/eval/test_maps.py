"""Embedding maps: the axes are scikit-learn's, crowds are thinned, broken features have no map."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from mermed.eval.maps import MAX_POINTS, embedding_maps, principal_axes


def test_axes_are_those_of_scikit_learn_up_to_sign():
    table = np.random.default_rng(0).normal(size=(80, 6)) * [5, 3, 1, 1, 1, 1]
    points, variance = principal_axes(table)
    reference = PCA(2).fit(table)
    assert np.abs(points) == pytest.approx(np.abs(reference.transform(table)), abs=1e-9)
    assert variance == pytest.approx(reference.explained_variance_ratio_.sum())


def test_a_crowd_is_thinned_and_says_so(meta_of):
    features = torch.randn(MAX_POINTS + 700, 4, generator=torch.Generator().manual_seed(0))
    metas = [meta_of(modality) for modality in ("us", "ct")] * (len(features) // 2)
    (one,) = embedding_maps(features, metas, [], seed=0)
    assert len(one.points) == MAX_POINTS
    assert one.num_images == len(features)
    assert one.names == ("ct", "us")
    assert set(one.colour.tolist()) == {0, 1}


def test_features_that_are_not_finite_have_no_map(meta_of):
    features = torch.full((3, 4), float("nan"))
    assert embedding_maps(features, [meta_of("us")] * 3, [], seed=0) == []


def test_collapsed_features_have_a_map_of_one_point(meta_of):
    (one,) = embedding_maps(torch.ones(5, 4), [meta_of("us")] * 5, [], seed=0)
    assert one.variance == 0.0
    assert np.ptp(one.points, axis=0) == pytest.approx([0.0, 0.0])
