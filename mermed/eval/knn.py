"""k-nearest-neighbour probe: cosine similarity, neighbours weighted by exp(similarity / temperature)."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

NUM_NEIGHBOURS = 20
TEMPERATURE = 0.07
_CHUNK_IMAGES = 1024


def knn_scores(
    train: Float[Tensor, "train width"],
    label: Int64[Tensor, " train"],
    test: Float[Tensor, "test width"],
    *,
    num_classes: int,
    num_neighbours: int = NUM_NEIGHBOURS,
    temperature: float = TEMPERATURE,
) -> Float[Tensor, "test classes"]:
    """Share of each class among the weighted neighbours of each test image (Caron et al. 2021, section 4).

    The weights of an image's neighbours are divided by their sum, so that a score means the same for an image in a
    dense and in a sparse region: AUROC compares scores across images. Test images go in chunks, so that memory holds
    1,024 rows of similarities. With fewer train images than neighbours all of them vote.
    """
    bank = functional.normalize(train.double(), dim=1)
    votes = functional.one_hot(label, num_classes).double()
    neighbours = min(num_neighbours, len(train))
    scores = []
    for chunk in test.double().split(_CHUNK_IMAGES):
        similarity, place = (functional.normalize(chunk, dim=1) @ bank.T).topk(neighbours, dim=1)
        weight = torch.softmax(similarity / temperature, dim=1)
        # (test, 1, neighbours) @ (test, neighbours, classes) -> (test, classes)
        scores.append((weight[:, None, :] @ votes[place]).squeeze(1))
    return torch.cat(scores)
