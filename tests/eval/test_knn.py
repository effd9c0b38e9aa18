"""The k-NN probe against a loop and against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from mermed.eval import knn
from mermed.eval.knn import knn_scores


def features(seed, train=70, test=33, width=8, classes=4):
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(0, classes, (train,), generator=generator)
    return torch.randn(train, width, generator=generator), label, torch.randn(test, width, generator=generator)


def loop_scores(train, label, test, num_classes, k, temperature):
    scores = np.zeros((len(test), num_classes))
    for i, image in enumerate(test.double().numpy()):
        bank = train.double().numpy()
        similarity = bank @ image / np.linalg.norm(bank, axis=1) / np.linalg.norm(image)
        for j in np.argsort(-similarity)[:k]:
            scores[i, label[j]] += np.exp(similarity[j] / temperature)
    return scores / scores.sum(1, keepdims=True)


def test_scores_equal_a_loop_over_neighbours():
    train, label, test = features(0)
    ours = knn_scores(train, label, test, num_classes=4).numpy()
    assert ours == pytest.approx(loop_scores(train, label, test, 4, 20, 0.07), abs=1e-9)


def test_a_large_temperature_gives_the_uniform_votes_of_scikit_learn():
    train, label, test = features(1)
    reference = KNeighborsClassifier(11, metric="cosine").fit(train.numpy(), label.numpy()).predict_proba(test.numpy())
    ours = knn_scores(train, label, test, num_classes=4, num_neighbours=11, temperature=1e9).numpy()
    assert ours == pytest.approx(reference, abs=1e-6)


def test_chunks_change_nothing(monkeypatch):
    train, label, test = features(2)
    whole = knn_scores(train, label, test, num_classes=4)
    monkeypatch.setattr(knn, "_CHUNK_IMAGES", 7)
    torch.testing.assert_close(whole, knn_scores(train, label, test, num_classes=4))


def test_fewer_train_images_than_neighbours_all_vote():
    train, label, test = features(3, train=5)
    ours = knn_scores(train, label, test, num_classes=4).numpy()
    assert ours == pytest.approx(loop_scores(train, label, test, 4, 5, 0.07), abs=1e-9)


def test_a_class_without_train_images_scores_zero():
    train, label, test = features(4, classes=3)
    assert knn_scores(train, label, test, num_classes=4)[:, 3].eq(0).all()
