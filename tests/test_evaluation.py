"""Evaluation against scikit-learn, naive loops and known answers."""

import math

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from simclr_tut import data, evaluation, models


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


def test_knn_on_a_large_bank_holds_a_bounded_block_of_similarities():
    class Largest(TorchFunctionMode):
        seen = 0

        def __torch_function__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                Largest.seen = max(Largest.seen, result.numel())
            return result

    angles = torch.linspace(0, 3.1, 400_000)
    bank, labels = torch.stack([angles.cos(), angles.sin()], 1), (angles > 1.5).long()
    asked = torch.linspace(0.1, 3, 300)
    with Largest():
        answer = evaluation.knn_predict(bank, labels, torch.stack([asked.cos(), asked.sin()], 1), 1)
    assert Largest.seen <= 10**8 < 300 * 400_000
    far = (asked - 1.5).abs() > 0.01
    assert torch.equal(answer[far], (asked > 1.5).long()[far])


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


X, Y = clouds(30)
Q, QY = clouds(9, seed=4)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: evaluation.knn_predict(X, Y, Q, 3, 0.0), "temperature must be above 0"),
    (lambda: evaluation.knn_predict(X, Y, Q, 2.5), "k must be a whole number"),
    (lambda: evaluation.knn_predict(X, Y.tolist(), Q, 3), "bank_labels must be an int64.*list"),
    (lambda: evaluation.knn_predict(X, Y + 10**9, Q, 3), "bank_labels must be classes"),
    (lambda: evaluation.knn_predict(X * 1e30, Y, Q, 3), "bank must be finite, and below"),
    (lambda: evaluation.knn_predict(X[:, :0], Y, Q[:, :0], 3), "bank must be"),
    (lambda: evaluation.knn_accuracy(X, Y, Q[:0], QY[:0]), "query_labels must be.*at least one"),
    (lambda: evaluation.knn_accuracy(X, Y, Q, QY.float() + 0.5), "query_labels must be an int64"),
    (lambda: evaluation.knn_accuracy(X, Y, Q, QY - 1), "Leave unlabelled pictures"),
    (lambda: evaluation.retrieval(X, 3, torch.tensor([30])), "queries must be row numbers"),
    (lambda: evaluation.retrieval(X, 3, torch.tensor([-1])), "queries must be row numbers"),
    (lambda: evaluation.retrieval(X, 3, torch.ones(30).bool()), "queries must be an int64"),
    (lambda: evaluation.retrieval(X, 3, [1, 2]), "queries must be an int64.*list"),
    (lambda: evaluation.retrieval(X, 1.5), "k must be between"),
    (lambda: evaluation.fit_probe(X.numpy(), Y, Q, QY), "train_features must be.*ndarray"),
    (lambda: evaluation.fit_probe(X * torch.nan, Y, Q, QY), "train_features must be finite"),
    (lambda: evaluation.fit_probe(X, Y - 1, Q, QY), "train_labels must be classes from 0"),
    (lambda: evaluation.fit_probe(X, Y, Q[:, :2], QY), r"validation_features must be \(N, 6\)"),
    (lambda: evaluation.fit_probe(X, Y, Q[:0], QY[:0]), "validation_features must be"),
    (lambda: evaluation.fit_probe(X, Y, Q, QY, strengths=()), "at least one C"),
    (lambda: evaluation.linear_probe(X, Y, Q, QY, Q[:0], QY[:0]), "test_features must be"),
    (lambda: evaluation.fit_probe(X, Y, Q, QY).predict(Q[:, :2]), r"features must be \(N, 6\)"),
    (lambda: evaluation.ridge_r2(X, X[:, 0] * torch.nan, Q, Q[:, 0]), "train_values must be a fin"),
    (lambda: evaluation.ridge_r2(X, X[:, 0], Q, Q[:, 0], 0), "strength must be above 0"),
    (lambda: evaluation.embed_2d(X * 0, "tsne", perplexity=3), "not all rows the same"),
    (lambda: evaluation.embed_2d(X.numpy(), "pca"), "features must be.*ndarray"),
    (lambda: evaluation.confusion(torch.tensor([3, 0]), torch.tensor([0, 1]), 3), "below 3; got"),
    (lambda: evaluation.confusion(QY[:1], QY, 3), "predictions must be"),
    (lambda: evaluation.record("unused", "SimCLR", math.nan), "value must be finite"),
])
def test_odd_arguments_are_named(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


@pytest.mark.parametrize(("images", "message"), [
    (torch.full((2, 3, 8, 8), 200.0), "Divide bytes by 255"),
    (torch.full((2, 3, 8, 8), torch.nan), "must lie in"),
    (torch.ones(2, 3, 8, 8, dtype=torch.int64), "uint8 or float tensor"),
    (np.ones((2, 3, 8, 8), np.uint8), "ndarray"),
])
def test_encode_refuses_pictures_of_another_range_or_type(images, message):
    with pytest.raises((ValueError, TypeError), match=message):
        evaluation.encode(models.build_encoder("tiny"), images)


def test_encode_takes_half_and_double_as_it_takes_float():
    model = models.build_encoder("tiny")
    images = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)).half()
    wanted = evaluation.encode(model, images.float())
    for same in (images, images.double()):
        torch.testing.assert_close(evaluation.encode(model, same), wanted)


def test_a_result_goes_into_a_folder_that_is_made_and_a_failure_says_what_to_do(tmp_path):
    evaluation.record(tmp_path / "new", "SimCLR", 0.5)
    assert evaluation.read_records(tmp_path / "new")[0]["value"] == 0.5
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="could not be written.*SIMCLR_TUT_HOME"):
        evaluation.record(tmp_path / "file" / "below", "SimCLR", 0.5)


def lopsided(n=4000, features=128):
    """Features whose directions differ in width by a factor of a hundred, away from 0."""
    generator = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(features, features, generator=generator)).Q
    widths = torch.logspace(0, -2, features)
    return torch.randn(n, features, generator=generator) * widths @ turn + 3


def test_whitened_features_have_covariance_one_and_the_cosines_of_scikit_learns_pca():
    h = lopsided()
    white, others = evaluation.whiten(h, h[:300] + 0.1, shrink=1e-9)
    torch.testing.assert_close(white.T @ white / len(h), torch.eye(128), atol=2e-3, rtol=0)
    pca = PCA(whiten=True).fit(h.double().numpy())
    reference, shifted = (torch.from_numpy(pca.transform(x.double().numpy())).float()
                          for x in (h, h[:300] + 0.1))
    for ours, theirs in ((white[500:800], reference[500:800]), (others, shifted)):
        torch.testing.assert_close(F.cosine_similarity(white[:300], ours),
                                   F.cosine_similarity(reference[:300], theirs), atol=1e-3, rtol=0)


def test_whitening_undoes_any_change_of_basis():
    h = lopsided(features=16) - 3
    generator = torch.Generator().manual_seed(2)
    other = h @ torch.randn(16, 16, generator=generator) + 5
    one, two = (F.normalize(evaluation.whiten(x, shrink=1e-9)[0][:200]) for x in (h, other))
    torch.testing.assert_close(one @ one.T, two @ two.T, atol=5e-3, rtol=0)
    plain = [F.normalize(x[:200]) for x in (h, other)]
    assert (plain[0] @ plain[0].T - plain[1] @ plain[1].T).abs().max() > 0.1


def test_shrinking_keeps_empty_directions_small():
    h = torch.randn(500, 8, generator=torch.Generator().manual_seed(1))
    h[:, 5] = 1e-6 * h[:, 5]  # what is next to nothing stays next to nothing
    spread = evaluation.whiten(h)[0].std(0)
    assert spread[5] < 1e-3 and spread[[0, 1, 2, 3, 4, 6, 7]].min() > 0.9


@pytest.mark.parametrize(("tensors", "message"), [
    ((torch.zeros(1, 4),), "bank"), ((torch.zeros(4),), "bank"),
    ((torch.full((3, 4), float("nan")),), "bank"), ((torch.ones(5, 4),), "alike"),
    ((torch.rand(5, 4), torch.rand(3, 5)), "others")])
def test_whitening_refuses_what_has_no_covariance(tensors, message):
    with pytest.raises(ValueError, match=message):
        evaluation.whiten(*tensors)
    with pytest.raises(ValueError, match="shrink"):
        evaluation.whiten(torch.rand(5, 4), shrink=0)


@pytest.mark.parametrize("shrink", [0.01, 1e-6])
def test_the_map_of_whitening_is_whitening(shrink):
    torch.manual_seed(0)
    h = torch.randn(500, 24) @ torch.randn(24, 24) + 5
    matrix, offset = evaluation.whitening_map(h, shrink)
    white, others = evaluation.whiten(h, h[:50] * 2, shrink=shrink)
    torch.testing.assert_close(h @ matrix + offset, white, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(2 * h[:50] @ matrix + offset, others, atol=1e-3, rtol=1e-4)
    with pytest.raises(ValueError, match="bank"):
        evaluation.whitening_map(torch.ones(5, 4))


def test_plain_knn_of_a_whitened_encoder_is_whitened_knn():
    network = models.load_pretrained("shapes-small")
    train = data.load_dataset("shapes", "train", 600)
    known, asked = train.subset(range(400)), train.subset(range(400, 600))
    h, queries = evaluation.encode(network, known), evaluation.encode(network, asked)
    whole = models.append_map(network, *evaluation.whitening_map(h))
    _, white = evaluation.knn_plain_and_whitened(h, known.labels, queries, asked.labels, 20)
    plain = evaluation.knn_accuracy(evaluation.encode(whole, known), known.labels,
                                    evaluation.encode(whole, asked), asked.labels, 20)
    assert abs(plain - white) <= 1 / 200
    z, same = (evaluation.encode(m, asked, layer="z") for m in (network, whole))
    torch.testing.assert_close(same, z, atol=1e-3, rtol=1e-3)


def test_plain_and_whitened_knn_are_those_of_the_two_kinds_of_features():
    h = lopsided(n=900, features=32) - 3
    labels = (evaluation.whiten(h)[0][:, :3].argmax(1) + 1) % 3  # told by all directions alike
    plain, white = evaluation.knn_plain_and_whitened(h[:600], labels[:600], h[600:], labels[600:],
                                                     k=9)
    unit = F.normalize(h, dim=1)
    nearest = KNeighborsClassifier(9, weights=lambda d: np.exp((1 - d**2 / 2) / 0.1))
    nearest.fit(unit[:600].numpy(), labels[:600].numpy())
    assert plain == pytest.approx(nearest.score(unit[600:].numpy(), labels[600:].numpy()), abs=5e-3)
    assert white > plain + 0.1


@pytest.mark.parametrize("call", [
    lambda x, images: evaluation.knn_predict(x, torch.zeros(4, dtype=torch.int64), x),
    lambda x, images: evaluation.retrieval(x, 2), lambda x, images: evaluation.whiten(x),
    lambda x, images: evaluation.color_histogram(images),
    lambda x, images: evaluation.raw_pixels(images)])
def test_features_and_pictures_elsewhere_than_on_the_cpu_are_sent_there(call):
    there = (torch.empty(4, 3, device="meta"),
             torch.empty(4, 3, 8, 8, dtype=torch.uint8, device="meta"))
    with pytest.raises(ValueError, match=r"must be on the CPU.*Call \.cpu\(\)"):
        call(*there)


def test_many_equal_votes_do_not_overflow():
    bank, labels = torch.ones(14_000, 2), (torch.arange(14_000) >= 6300).long()
    for temperature in (0.1, 0.0125, 1e-3, 1e-30):
        found = evaluation.knn_predict(bank, labels, bank[:1], 14_000, temperature)
        assert found.tolist() == [1], temperature
    opposite = evaluation.knn_predict(-bank, labels, bank[:1], 14_000, 0.0125)  # all cosines -1
    assert opposite.tolist() == [1]


@pytest.mark.parametrize("place", [0.0, 5.0, 1e4])
@pytest.mark.parametrize("shrink", [0.01, 1e-9])
def test_whitening_equals_the_same_in_float64(place, shrink):
    generator = torch.Generator().manual_seed(0)
    low = torch.randn(500, 3, generator=generator) @ torch.randn(3, 8, generator=generator)
    x = low + 0.05 * torch.randn(500, 8, generator=generator) + place
    wide = x.double() - x.double().mean(0)
    values, directions = torch.linalg.eigh(wide.T @ wide / len(x))
    expected = wide @ directions @ torch.diag((values + shrink * values.mean()).rsqrt())
    expected = (expected @ directions.T).float()
    torch.testing.assert_close(evaluation.whiten(x, shrink=shrink)[0], expected, atol=1e-5, rtol=0)


def test_autocast_changes_no_evaluation():
    x, labels = clouds(300)
    with torch.autocast("cpu", torch.bfloat16):
        inside = evaluation.whiten(x)[0], evaluation.knn_predict(x, labels, x, 5)
    assert torch.equal(inside[0], evaluation.whiten(x)[0])
    assert torch.equal(inside[1], evaluation.knn_predict(x, labels, x, 5))


def test_ridge_sees_that_time_stamps_vary():
    x = torch.arange(40.0)[:, None]
    stamps = 1e8 + 0.1 * torch.arange(40).double().requires_grad_()
    assert evaluation.ridge_r2(x, stamps, x, stamps) > 0.9
    with pytest.raises(TypeError, match="train_values must be real"):
        evaluation.ridge_r2(x, stamps.to(torch.complex128), x, stamps)


@pytest.mark.parametrize("values", [[[1, 2], [3, 4]], "12", b"12"])
def test_an_interval_is_of_numbers_in_a_row(values):
    with pytest.raises(TypeError, match="values must be numbers"):
        evaluation.interval(values)


def test_grey_pictures_are_refused_by_a_model_of_coloured_ones():
    network = models.build_model("tiny")
    with pytest.raises(ValueError, match=r"images must have the channels.*\(2, 1, 8, 8\)"):
        evaluation.encode(network, torch.zeros(2, 1, 8, 8, dtype=torch.uint8))


def test_short_features_are_refused_where_only_directions_count():
    x, labels = clouds()
    with pytest.raises(ValueError, match="bank must have a number of 1e-10"):
        evaluation.knn_predict(x * 1e-14, labels, x, 5)


def test_facts_that_json_cannot_hold_are_named(tmp_path):
    with pytest.raises(TypeError, match=r"facts must be.*int\(\)"):
        evaluation.record(tmp_path, "a", 0.3, seed=np.int64(3))
