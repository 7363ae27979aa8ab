"""Loading: formats, fallbacks, splits and what goes wrong."""

import copy
import gzip
import io
import os
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from simclr_tut import config, data, evaluation, models, training
from simclr_tut.views import Views


@pytest.fixture
def places(monkeypatch, tmp_path):
    monkeypatch.setenv("SIMCLR_TUT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("SIMCLR_TUT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def picture(value):
    file = io.BytesIO()
    Image.new("RGB", (32, 32), (value, 0, 0)).save(file, "PNG")
    return file.getvalue()


def make_zip(path, values=(10, 200)):
    with zipfile.ZipFile(path, "w") as archive:
        for split in ("train", "test"):
            for label, class_name in enumerate(("airplane", "bird")):
                for value in values:
                    archive.writestr(f"{split}/{class_name}/{value}.png", picture(value + label))


def test_a_zip_of_pictures_is_read_once_and_then_from_the_cache(places):
    make_zip(places / "cifar10-jpeg.zip")
    first = data.load_dataset("cifar10")
    assert first.name == "cifar10" and first.classes == ("airplane", "bird")
    assert first.images[:, 0, 0, 0].tolist() == [10, 200, 11, 201]
    assert first.labels.tolist() == [0, 0, 1, 1]
    cached = list((places.parent / "cache").iterdir())
    assert len(cached) == 1
    again = data.load_dataset("cifar10")
    assert torch.equal(first.images, again.images) and again.classes == first.classes
    cached[0].write_bytes(cached[0].read_bytes()[:50])  # a cache cut short is made again
    assert torch.equal(data.load_dataset("cifar10").images, first.images)


def test_a_zip_named_itself_is_no_other_data_set(places, monkeypatch):
    make_zip(places / "any name.zip")
    monkeypatch.setenv("SIMCLR_TUT_DATA", str(places / "any name.zip"))
    monkeypatch.setattr(data, "_DEBIAN", places / "nowhere")
    with pytest.raises(FileNotFoundError, match="fashion_mnist was not found"):
        data.load_dataset("fashion_mnist")


def test_what_a_mac_puts_into_a_zip_and_folders_of_like_names_are_no_pictures(places):
    make_zip(places / "cifar10.zip")
    with zipfile.ZipFile(places / "cifar10.zip", "a") as archive:
        for name in ("__MACOSX/train/bird/._10.png", "train/bird/.hidden.png"):
            archive.writestr(name, b"not a picture")
        archive.writestr("not train/fish/10.png", picture(1))
        archive.writestr("mytrain/fish/10.png", picture(1))
    found = data.load_dataset("cifar10")
    assert found.classes == ("airplane", "bird") and len(found) == 4


@pytest.mark.parametrize("harm", ["cut", "flip", "no picture", "other split", "encrypted"])
def test_an_archive_that_is_not_whole_is_named_and_leaves_no_cache(places, harm):
    path = places / "cifar10.zip"
    make_zip(path)
    content = bytearray(path.read_bytes())
    if harm == "cut":
        content = content[:len(content) // 2]
    elif harm == "flip":
        content[content.index(b"IDAT") + 9] ^= 255  # a member's checksum no longer holds
    elif harm == "encrypted":
        content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    if harm == "no picture":
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("train/bird/z.png", b"not a picture")
    elif harm == "other split":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("val/bird/z.png", picture(1))
    with pytest.raises(OSError, match="cifar10.zip is not a whole zip.*Fetch it again"):
        data.load_dataset("cifar10")
    assert not list((places.parent / "cache").glob("*"))


def test_a_class_has_one_number_in_both_splits_of_a_zip(places):
    with zipfile.ZipFile(places / "cifar10.zip", "w") as archive:
        for name in ("train/airplane/0.png", "train/bird/0.png", "test/bird/0.png"):
            archive.writestr(name, picture(9))
    train, test = data.load_dataset("cifar10"), data.load_dataset("cifar10", "test")
    assert train.classes == test.classes == ("airplane", "bird")
    assert train.labels.tolist() == [0, 1] and test.labels.tolist() == [1]


def test_a_zip_whose_lzma_is_broken_is_named(places):
    path = places / "cifar10.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("train/bird/z.png", picture(1) * 50)
    content = bytearray(path.read_bytes())
    for i in range(60, 120):
        content[i] ^= 255
    path.write_bytes(content)
    with pytest.raises(OSError, match="not a whole zip"):
        data.load_dataset("cifar10")


def test_pictures_of_any_size_in_a_zip_become_32_pixels(places):
    make_zip(places / "cifar10.zip")
    file = io.BytesIO()
    Image.new("L", (50, 70), 77).save(file, "PNG")
    with zipfile.ZipFile(places / "cifar10.zip", "a") as archive:
        archive.writestr("train/bird/z.png", file.getvalue())
    assert data.load_dataset("cifar10").images[-1].unique().tolist() == [77]


def test_a_cache_folder_that_is_a_file_costs_only_time(places, monkeypatch):
    make_zip(places / "cifar10.zip")
    (places.parent / "file").write_text("a file")
    monkeypatch.setenv("SIMCLR_TUT_CACHE", str(places.parent / "file"))
    assert len(data.load_dataset("cifar10")) == 4


def idx(values):
    values = np.asarray(values, np.uint8)
    head = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes()
    return gzip.compress(head + values.tobytes())


@pytest.fixture
def debian(places, monkeypatch):
    """The files of Debian's package, small."""
    folder = places.parent / "fashion-mnist"
    folder.mkdir()
    for stem, count in (("train", 3), ("t10k", 2)):
        pixels = np.arange(count)[:, None, None].repeat(28, 1).repeat(28, 2)
        (folder / f"{stem}-images-idx3-ubyte.gz").write_bytes(idx(pixels))
        (folder / f"{stem}-labels-idx1-ubyte.gz").write_bytes(idx(np.arange(count)))
    monkeypatch.setattr(data, "_DEBIAN", folder)
    return folder


def test_debian_s_fashion_mnist_is_read_where_it_lies(debian):
    train, test = (data.load_dataset("fashion_mnist", split) for split in ("train", "test"))
    assert train.images.shape == (3, 3, 28, 28) and len(test) == 2
    assert train.images[:, 1, 5, 5].tolist() == train.labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize("harm", [b"", b"no gzip", "cut", "labels"])
def test_a_broken_package_is_named(debian, harm):
    path = debian / "train-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    if harm == "labels":
        (debian / "train-labels-idx1-ubyte.gz").write_bytes(idx([1, 2]))
    else:
        path.write_bytes(whole[:-20] if harm == "cut" else harm)
    with pytest.raises(OSError, match="fashion_mnist under .* are broken.*dataset-fashion-mnist"):
        data.load_dataset("fashion_mnist")


@pytest.mark.skipif(not data._DEBIAN.is_dir(),
                    reason="needs Debian's package dataset-fashion-mnist (.ci/run installs it)")
def test_fashion_mnist_itself_is_learned_from(monkeypatch, tmp_path):
    """Real pictures on any machine with apt: 40 steps must beat the untrained encoder."""
    monkeypatch.delenv("SIMCLR_TUT_DATA", raising=False)
    monkeypatch.setenv("SIMCLR_TUT_CACHE", str(tmp_path))
    bank, queries = (data.load_dataset("fashion_mnist", split, n=1000)
                     for split in ("train", "test"))
    assert len(data.load_dataset("fashion_mnist")) == 60_000
    assert torch.bincount(bank.labels).min() > 50 and len(queries.labels.unique()) == 10

    def accuracy(model):
        return evaluation.knn_accuracy(evaluation.encode(model, bank), bank.labels,
                                       evaluation.encode(model, queries), queries.labels, k=20)

    torch.manual_seed(0)
    model = models.build_model("tiny")
    before = accuracy(copy.deepcopy(model))
    recipe = config.Recipe(steps=40, batch_size=128, small_size=None, optimizer="muon", lr=0.1)
    history = training.pretrain(model, bank.images, Views(28, color=0.0, gray=0.0), recipe)
    assert history.loss[-1] < 0.8 * history.loss[0]
    assert accuracy(model) > before + 0.02


def test_a_folder_of_pictures_is_cut_square(places):
    (places / "mine" / "cat").mkdir(parents=True)
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, 20:60] = 255  # the middle square is white
    Image.fromarray(pixels).save(places / "mine" / "cat" / "a.png")
    Image.new("L", (10, 10), 7).save(places / "mine" / "cat" / "b.jpg")
    (places / "mine" / "cat" / "broken.jpg").write_bytes(b"no picture")
    with pytest.warns(UserWarning, match="1 of 3 files under mine.*cat/broken.jpg"):
        loaded = data.load_dataset(places / "mine")
    assert loaded.images.shape == (2, 3, 32, 32) and loaded.classes == ("cat",)
    assert loaded.images[0].min() == 255


def test_without_cifar10_shapes_stand_in_and_say_so(places):
    loaded = data.load_dataset("cifar10", n=50)
    assert loaded.name == "shapes" and len(loaded) == 50 and "hue" in loaded.factors


def test_torchvision_files_are_found_by_their_own_loader(places, monkeypatch):
    from torchvision import datasets

    class Fake:
        def __init__(self, root, train, download):
            assert root == str(places) and download is False
            self.data = np.full((4, 32, 32, 3), 9, np.uint8)
            self.targets, self.classes = [0, 1, 0, 1], ["a", "b"]

    monkeypatch.setattr(datasets, "CIFAR10", Fake)
    loaded = data.load_dataset("cifar10", "test", n=2)
    assert loaded.images.shape == (2, 3, 32, 32) and loaded.name == "cifar10"


@pytest.mark.parametrize(("name", "error", "message"), [
    ("cifar11", FileNotFoundError, "must be one of shapes, cifar10"),
    ("stl10", FileNotFoundError, "SIMCLR_TUT_DATA"),
])
def test_unknown_and_absent_data(places, name, error, message):
    with pytest.raises(error, match=message):
        data.load_dataset(name)


def test_a_broken_zip_an_empty_folder_and_a_wrong_path_are_named(places, monkeypatch):
    (places / "cifar10.zip").write_bytes(b"PK half a file")
    with pytest.raises(OSError, match="not a whole zip"):
        data.load_dataset("cifar10")
    (places / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no picture that can be read"):
        data.load_dataset(places / "empty")
    monkeypatch.setenv("SIMCLR_TUT_DATA", str(places / "nowhere"))
    with pytest.raises(FileNotFoundError, match="does not exist"):
        data.load_dataset("cifar10")
    with pytest.raises(ValueError, match='"train" or "test"'):
        data.load_dataset("shapes", "val")


def toy(n=40):
    return data.ImageData(torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1),
                          torch.arange(n) % 4, ("a", "b", "c", "d"))


def test_splits_share_no_picture_and_lose_none():
    rest, validation = data.split_labels(toy(), 10, seed=3)
    together = torch.cat([rest.images, validation.images]).flatten().tolist()
    assert len(validation) == 10 and sorted(together) == list(range(40))
    assert not torch.equal(validation.images, data.split_labels(toy(), 10, seed=4)[1].images)
    with pytest.raises(ValueError, match="n_validation"):
        data.split_labels(toy(), 40)


def test_a_data_set_is_shown_in_one_line():
    shapes = data.load_dataset("shapes", "test", 20)
    assert repr(shapes) == "ImageData(shapes: 20 pictures (3, 32, 32) uint8, 10 classes)"


def test_subsets_are_balanced_and_refuse_too_many():
    drawn = data.subset_per_class(toy(), 3, seed=1)
    assert torch.bincount(drawn.labels).tolist() == [3] * 4
    assert (drawn.images.flatten() % 4 == drawn.labels).all()
    with pytest.raises(ValueError, match="class 'a' has"):
        data.subset_per_class(toy(), 11)


def test_batches_cover_each_picture_once():
    whole = torch.cat(list(data.batches(10, 3, drop_last=False)))
    assert sorted(whole.tolist()) == list(range(10))
    assert [len(b) for b in data.batches(10, 3)] == [3, 3, 3]
    assert [len(b) for b in data.batches(2, 3)] == [2]


def test_labels_out_of_range_are_refused():
    with pytest.raises(ValueError, match="below 1"):
        data.ImageData(torch.zeros(1, 3, 2, 2, dtype=torch.uint8), torch.tensor([1]), ("a",))
    with pytest.raises(ValueError, match="uint8"):
        data.ImageData(torch.zeros(1, 3, 2, 2), torch.tensor([0]), ("a",))


def test_the_variable_may_name_the_zip_itself(places, monkeypatch):
    make_zip(places / "any name.zip")
    monkeypatch.setenv("SIMCLR_TUT_DATA", str(places / "any name.zip"))
    loaded = data.load_dataset("cifar10")
    assert loaded.name == "cifar10" and loaded.labels.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("content", [b"", b"notes", b"PK\x03\x04 cut"])
def test_a_file_that_is_no_zip_does_not_become_shapes(places, monkeypatch, content):
    (places / "file.zip").write_bytes(content)
    monkeypatch.setenv("SIMCLR_TUT_DATA", str(places / "file.zip"))
    with pytest.raises(OSError, match="a folder, or a whole zip of pictures; got the file"):
        data.load_dataset("cifar10")


@pytest.mark.parametrize(("member", "content", "message"), [
    ("train/bird/cut.png", picture(3)[:60], "bird/cut.png cannot be decoded"),
    ("train/bird/text.png", b"text", "bird/text.png cannot be decoded"),
    ("train/bird/small.gif.png", b"", "small.gif.png cannot be decoded"),
])
def test_a_broken_picture_in_a_zip_is_named(places, member, content, message):
    make_zip(places / "cifar10.zip")
    with zipfile.ZipFile(places / "cifar10.zip", "a") as archive:
        archive.writestr(member, content)
    with pytest.raises(OSError, match=message):
        data.load_dataset("cifar10")


def test_a_zip_without_classes_is_named(places):
    with zipfile.ZipFile(places / "cifar10.zip", "w") as archive:
        archive.writestr("test/1.png", picture(1))
    with pytest.raises(OSError, match="no pictures under test/CLASS/"):
        data.load_dataset("cifar10", "test")


@pytest.mark.parametrize(("name", "file", "place"), [
    ("cifar10", "cifar-10-batches-py/data_batch_1", "data"),
    ("cifar10", "cifar-10-batches-py/data_batch_1", "cache"),
    ("stl10", "stl10_binary/train_X.bin", "data"),
    ("fashion_mnist", "FashionMNIST/raw/train-images-idx3-ubyte", "data"),
])
def test_half_of_torchvision_s_files_is_an_error_not_shapes(places, name, file, place):
    file = places.parent / place / file
    file.parent.mkdir(parents=True)
    file.write_bytes(b"half")
    with pytest.raises(OSError, match=f"the files of {name} .*broken.*Delete"):
        data.load_dataset(name)


def test_an_archive_that_nobody_unpacked_is_named(places):
    (places / "cifar-10-python.tar.gz").write_bytes(b"half")
    with pytest.raises(OSError, match="tar xzf cifar-10-python.tar.gz"):
        data.load_dataset("cifar10")


@pytest.mark.skipif(os.name != "posix", reason="needs permissions as POSIX has them")
def test_a_folder_that_may_not_be_read_is_named(places):
    places.chmod(0)
    administrator = os.geteuid() == 0  # who may read everything: be nobody for a moment
    try:
        if administrator:
            os.seteuid(65534)
        with pytest.raises(PermissionError, match="SIMCLR_TUT_DATA names .*chmod"):
            data.load_dataset("cifar10")
    finally:
        if administrator:
            os.seteuid(0)
        places.chmod(0o700)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: data.load_dataset(""), "dataset must be one of"),
    (lambda: data.load_dataset(None), "dataset must be one of"),
    (lambda: data.load_dataset("shapes", n=1.5), "n must be a whole number"),
    (lambda: data.split_labels(toy(), 3.5), "n_validation must be"),
    (lambda: data.subset_per_class(toy(), 1.5), "per_class must be a whole number"),
    (lambda: list(data.batches(5, 2.5)), "batch_size must be a whole number"),
    (lambda: toy().subset(torch.ones(40, dtype=torch.bool)), "mask.nonzero"),
    (lambda: toy().subset([1.5]), "indices must be whole numbers"),
    (lambda: toy().subset([40]), "indices must lie in 0 to 39"),
    (lambda: toy().subset([-1]), "indices must lie in 0 to 39"),
    (lambda: data.ImageData(toy().images, toy().labels - 2, toy().classes), "and -1 where"),
    (lambda: data.ImageData(toy().images, toy().labels.float(), toy().classes), "int64"),
    (lambda: data.ImageData(toy().images, toy().labels.tolist(), toy().classes), "got list"),
    (lambda: data.ImageData(toy().images.numpy(), toy().labels, toy().classes), "got ndarray"),
    (lambda: data.ImageData(toy().images, toy().labels, toy().classes, {"hue": torch.ones(3)}),
     "factor 'hue' must hold one value an image"),
])
def test_odd_arguments_are_named(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


@pytest.mark.parametrize("harm", ["empty", "flipped", "other pictures"])
def test_a_damaged_cache_of_a_zip_is_made_again(monkeypatch, tmp_path, harm):
    folder = tmp_path / "data"
    folder.mkdir()
    with zipfile.ZipFile(folder / "cifar10.zip", "w") as archive:
        for split, name in (("train", "cat"), ("train", "dog"), ("test", "cat"), ("test", "dog")):
            picture = io.BytesIO()
            Image.new("RGB", (32, 32), "red").save(picture, "JPEG")
            archive.writestr(f"{split}/{name}/a.jpg", picture.getvalue())
    monkeypatch.setenv("SIMCLR_TUT_DATA", str(folder))
    monkeypatch.setenv("SIMCLR_TUT_CACHE", str(tmp_path / "cache"))
    expected = data.load_dataset("cifar10").images
    cached, = (tmp_path / "cache").glob("*.npz")
    content = bytearray(cached.read_bytes())
    if harm == "empty":
        content = b""
    elif harm == "flipped":
        content[len(content) // 3] ^= 1
    cached.write_bytes(content)
    if harm == "other pictures":
        np.savez(cached, images=np.zeros((2, 2, 32), np.uint8), labels=np.zeros(2, np.int64),
                 classes=np.array(["cat", "dog"]))
    assert torch.equal(data.load_dataset("cifar10").images, expected)
