"""Evaluation against scikit-learn, naive loops and known answers."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from torch.nn import functional as F

from simclr_tut import evaluation, models


def clouds(n=60, classes=3, spread=0.5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    noise = spread * torch.randn(n, 6, generator=generator)
    return torch.eye(classes, 6)[labels] * 2 + noise, labels


def test_weighted_knn_equals_scikit_learn():
    bank, labels = clouds(200, spread=1.5)
    queries, _ = clouds(50, spread=1.5, seed=1)
    theirs = KNeighborsClassifier(15, metric="cosine", algorithm="brute",
                                  weights=lambda d: np.exp((1 - d) / 0.1)).fit(bank, labels)
    ours = evaluation.knn_predict(bank, labels, queries, k=15, temperature=0.1)
    assert ours.tolist() == theirs.predict(queries).tolist()


def test_knn_in_blocks_equals_knn_at_once_and_k_is_clipped():
    bank, labels = clouds(40, spread=1)
    queries, _ = clouds(2500, spread=1, seed=2)
    one_by_one = torch.cat([evaluation.knn_predict(bank, labels, q[None], 7) for q in queries[:50]])
    assert torch.equal(evaluation.knn_predict(bank, labels, queries, 7)[:50], one_by_one)
    assert len(evaluation.knn_predict(bank, labels, queries, k=10_000)) == 2500


def test_a_picture_is_never_its_own_neighbour():
    bank = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    bank[5] = bank[6]  # a twin may be found, oneself not
    found = evaluation.retrieval(bank, 29)
    for i in range(30):
        assert sorted(found[i].tolist()) == [j for j in range(30) if j != i]
    assert evaluation.retrieval(bank, 1, torch.tensor([5])).item() == 6
    cosine = F.cosine_similarity(bank[3][None], bank)
    cosine[3] = -2
    best = cosine.sort(descending=True).values[:29]  # values: the twins tie
    torch.testing.assert_close(cosine[found[3]], best, atol=1e-5, rtol=0)


def test_probe_equals_scikit_learn_and_chooses_on_validation_only():
    parts = [clouds(90, spread=1.2, seed=s) for s in range(3)]
    result = evaluation.linear_probe(*parts[0], *parts[1], *parts[2], strengths=(0.1,))
    x = (parts[0][0] - parts[0][0].mean(0)) / parts[0][0].std(0, correction=0)
    t = (parts[2][0] - parts[0][0].mean(0)) / parts[0][0].std(0, correction=0)
    theirs = LogisticRegression(C=0.1).fit(x, parts[0][1]).score(t, parts[2][1])
    assert result.accuracy == pytest.approx(theirs, abs=0.012)
    both = evaluation.linear_probe(*parts[0], *parts[1], *parts[2], strengths=(1e-6, 1.0))
    assert both.validation[both.strength] == max(both.validation.values())
    turned = evaluation.linear_probe(*parts[0], *parts[1], parts[2][0], (parts[2][1] + 1) % 3,
                                     strengths=(1e-6, 1.0))
    assert turned.strength == both.strength and turned.accuracy < 0.3


def test_encode_restores_modes_and_moves_no_statistics():
    model = models.SimCLR(models.build_encoder("tiny"), models.ProjectionHead(128, 32, 16))
    model.train()
    model.head.eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    images = torch.randint(0, 256, (7, 3, 32, 32), dtype=torch.uint8)
    h = evaluation.encode(model, images, batch_size=3)
    z = evaluation.encode(model, images, "z")
    assert h.shape == (7, 128) and z.shape == (7, 16) and not h.requires_grad
    assert model.training and model.encoder.training and not model.head.training
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    torch.testing.assert_close(h, evaluation.encode(model.encoder, images), atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="layer must be"):
        evaluation.encode(model.encoder, images, "z")
    with pytest.raises(ValueError, match="images must be"):
        evaluation.encode(model, images[0])


def test_histograms_count_colours():
    images = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    images[1, 0] = 255
    histogram = evaluation.color_histogram(images, bins=4)
    assert histogram.shape == (2, 64) and histogram.sum(1).tolist() == [1, 1]
    assert histogram[0, 0] == 1 and histogram[1, 48] == 1
    noise = torch.randint(0, 256, (5, 3, 9, 7), dtype=torch.uint8)
    expected = [np.histogramdd(image.flatten(1).T.numpy(), bins=[np.arange(0, 257, 64)] * 3)[0]
                for image in noise]
    np.testing.assert_allclose(evaluation.color_histogram(noise) * 63,
                               np.stack(expected).reshape(5, 64), atol=1e-4)


def test_intervals_equal_a_table_of_t():
    mean, low, high = evaluation.interval([1.0, 2.0, 3.0, 4.0, 5.0])
    half = 2.776445 * np.std([1, 2, 3, 4, 5], ddof=1) / np.sqrt(5)
    assert (mean, low, high) == pytest.approx((3, 3 - half, 3 + half), abs=1e-5)
    assert evaluation.interval([0.5]) == (0.5, 0.5, 0.5)
    with pytest.raises(ValueError, match="at least one value"):
        evaluation.interval([])


def test_intervals_of_percentages_stay_between_0_and_100():
    values = [79.0, 99.0, 60.0]
    assert evaluation.interval(values)[2] > 100  # what the plain interval says of a percentage
    mean, low, high = evaluation.interval(values, top=100)
    assert 0 < low < 60 and 99 < high < 100 and mean == pytest.approx(np.mean(values))
    odds = [math.log(v / (100 - v)) for v in values]  # the t-table again: 4.3027 at 2 degrees
    half = 4.3027 * float(np.std(odds, ddof=1)) / math.sqrt(3)
    for bound, expected in ((low, np.mean(odds) - half), (high, np.mean(odds) + half)):
        assert math.log(bound / (100 - bound)) == pytest.approx(expected, abs=1e-3)
    near = [50.0, 50.1, 50.2, 49.9]  # far from both ends the two agree
    plain = evaluation.interval(near)
    assert evaluation.interval(near, top=100) == pytest.approx(plain, abs=1e-3)
    mirrored = evaluation.interval([100 - v for v in values], top=100)
    assert mirrored == pytest.approx((100 - mean, 100 - high, 100 - low))
    assert evaluation.interval([0.0, 0.0], top=1) == (0, 0, 0)
    assert 0 <= evaluation.interval([0.0, 0.5, 1.0], top=1)[1] < 0.5
    with pytest.raises(ValueError, match="between 0 and top = 1"):
        evaluation.interval([0.5, 79], top=1)


def test_confusion_counts_pairs():
    matrix = evaluation.confusion(torch.tensor([0, 1, 1, 2]), torch.tensor([0, 1, 2, 2]), 3)
    assert matrix.tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]


def test_records_grow_replace_and_refuse_damage(tmp_path):
    assert evaluation.read_records(tmp_path) == []
    evaluation.record(tmp_path, "SimCLR", 0.5, dataset="d", measure="kNN", seed=0)
    evaluation.record(tmp_path, "SimCLR", 0.6, dataset="d", measure="kNN", seed=0)
    evaluation.record(tmp_path, "chance", 0.1, dataset="d", measure="kNN")
    records = evaluation.read_records(tmp_path)
    assert [(r["name"], r["value"]) for r in records] == [("SimCLR", 0.6), ("chance", 0.1)]
    assert evaluation.results_table(records).splitlines()[-1] == "| SimCLR | d | kNN | 60.0 % |"
    (tmp_path / "results.json").write_text("[{")
    with pytest.raises(ValueError, match="Delete it"):
        evaluation.read_records(tmp_path)


def test_maps_are_two_dimensional_and_repeat():
    features, _ = clouds(60)
    for method in ("pca", "tsne"):
        first, again = (evaluation.embed_2d(features, method, seed=1, perplexity=5)
                        for _ in range(2))
        assert first.shape == (60, 2) and np.allclose(first, again)
    for wrong in ({"method": "umap"}, {"perplexity": 60}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            evaluation.embed_2d(features, **wrong)


@pytest.mark.parametrize(("change", "message"), [
    ({"k": 0}, "k must be"), ({"temperature": 0}, "temperature"),
    ({"queries": torch.ones(2, 5)}, "same F"),
    ({"bank_labels": torch.zeros(3).long()}, "bank_labels"),
    ({"bank_labels": torch.full((4,), -1)}, "from 0 up"),
    ({"bank": torch.full((4, 3), torch.nan)}, "finite"),
])
def test_bad_input_is_named(change, message):
    good = {"bank": torch.rand(4, 3), "bank_labels": torch.zeros(4).long(),
            "queries": torch.rand(2, 3)}
    with pytest.raises(ValueError, match=message):
        evaluation.knn_predict(**{**good, **change})


def test_ridge_r2_is_one_for_what_features_hold_and_zero_for_noise():
    x = torch.randn(600, 5, generator=torch.Generator().manual_seed(0))
    y = x @ torch.tensor([1.0, -2, 0, 0, 0.5]) + 3
    noise = torch.randn(600, generator=torch.Generator().manual_seed(1))
    assert evaluation.ridge_r2(x[:400], y[:400], x[400:], y[400:]) > 0.999
    assert abs(evaluation.ridge_r2(x[:400], noise[:400], x[400:], noise[400:])) < 0.1
    assert evaluation.ridge_r2(x[:400], y[:400], x[400:], -y[400:]) < 0
    with pytest.raises(ValueError, match="must vary"):
        evaluation.ridge_r2(x, y, x, torch.ones(600))


def test_ridge_r2_takes_collinear_features_without_a_warning(recwarn):
    shares = torch.rand(300, 64, generator=torch.Generator().manual_seed(0))
    shares[:, 5:] = 0
    shares = shares / shares.sum(1, keepdim=True)
    evaluation.ridge_r2(shares[:200], shares[:200, 0], shares[200:], shares[200:, 0])
    assert not recwarn.list
