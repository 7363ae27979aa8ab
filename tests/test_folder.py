"""A folder of the reader's own pictures: every kind of file, the cache, and what goes wrong."""

import errno
import io
import json
import os
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import quick_processes
import torch
from PIL import Image

from simclr_tut import _folder, _mapped, data

PROCESSES = quick_processes.context("simclr_tut.data")


@pytest.fixture
def mine(monkeypatch, tmp_path):
    monkeypatch.delenv("SIMCLR_TUT_DATA", raising=False)
    monkeypatch.setenv("SIMCLR_TUT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "mine").mkdir()
    return tmp_path / "mine"


def cached(mine):
    return sorted(p.suffix for p in (mine.parent / "cache" / "folders").iterdir())


def put(path, color=(200, 30, 60), size=(40, 40), mode="RGB", **named):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(path, **named)


@pytest.mark.parametrize(("name", "mode", "color", "expected"), [
    ("a.png", "RGB", (200, 30, 60), (200, 30, 60)),
    ("a.webp", "RGB", (200, 30, 60), None),
    ("a.jpg", "RGB", (200, 30, 60), None),
    ("a.JPEG", "RGB", (200, 30, 60), None),
    ("a.png", "L", 77, (77, 77, 77)),
    ("a.png", "1", 1, (255, 255, 255)),
    ("a.png", "LA", (77, 255), (77, 77, 77)),
    ("a.png", "RGBA", (200, 30, 60, 255), (200, 30, 60)),
    ("a.png", "RGBA", (200, 30, 60, 0), (255, 255, 255)),  # nothing to see: on white
    ("a.jpg", "CMYK", (0, 255, 255, 0), (254, 0, 0)),
    ("a.png", "I;16", 77 * 257, (77, 77, 77)),
])
def test_every_kind_of_file(mine, name, mode, color, expected):
    put(mine / name, color, mode=mode)
    found = data.load_dataset(mine)
    assert found.images.shape == (1, 3, 32, 32) and found.images.dtype == torch.uint8
    pixel = found.images[0].float().mean((1, 2))
    tolerance = 0 if expected and mode != "CMYK" else 6
    torch.testing.assert_close(pixel, torch.tensor(expected or color[:3]).float(),
                               atol=tolerance, rtol=0)


def test_a_palette_is_read_through_its_colours(mine):
    picture = Image.new("P", (40, 40), 1)
    picture.putpalette([0, 0, 0, 10, 250, 30] + [0] * 750)
    picture.save(mine / "a.png")
    picture.save(mine / "b.png", transparency=1)
    found = data.load_dataset(mine)
    assert found.images[0].float().mean((1, 2)).tolist() == [10, 250, 30]
    assert found.images[1].float().mean((1, 2)).tolist() == [255, 255, 255]


# What the first row and the first column of the stored pixels are in the scene (EXIF 2.3, 4.6.4).
STORED = {1: ("top", "left"), 2: ("top", "right"), 3: ("bottom", "right"), 4: ("bottom", "left"),
          5: ("left", "top"), 6: ("right", "top"), 7: ("right", "bottom"), 8: ("left", "bottom")}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("ending", ["png", "jpg", "webp"])
def test_every_orientation_of_a_camera_is_undone(mine, orientation, ending):
    scene = np.zeros((40, 60, 3), np.uint8)
    scene[:20, 10:30], scene[:20, 30:50] = 255, 130  # bright top left, half bright top right
    rows, columns = STORED[orientation]
    stored = scene.transpose(1, 0, 2) if rows in ("left", "right") else scene
    if rows in ("bottom", "right"):
        stored = stored[::-1]
    if columns in ("bottom", "right"):
        stored = stored[:, ::-1]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(mine / f"a.{ending}", exif=exif)
    found = data.load_dataset(mine).images[0].float()
    quarters = [found[:, 2:14, 2:14], found[:, 2:14, 18:30], found[:, 18:30]]
    for quarter, value in zip(quarters, (255, 130, 0), strict=True):
        assert (quarter - value).abs().max() < 12


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage!!!!!",
                                  b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12x",
                                  b"Exif\0\0II*\0\xff\xff\xff\xff"])
@pytest.mark.parametrize("ending", ["png", "jpg", "webp"])
def test_broken_notes_of_a_camera_cost_no_picture(mine, exif, ending):
    Image.new("RGB", (40, 40), (200, 30, 60)).save(mine / f"a.{ending}", exif=exif)
    found = data.load_dataset(mine)
    assert not found.left_out and abs(int(found.images[0, 0, 5, 5]) - 200) < 9


def test_sixteen_bits_are_scaled_by_their_range_and_not_by_their_values(mine):
    """A dark picture stays dark, a ramp stays a ramp."""
    Image.fromarray(np.full((32, 32), 200, np.uint16)).save(mine / "dark.png")
    ramp = np.repeat(np.linspace(0, 65535, 32).astype(np.uint16)[None], 32, 0)
    Image.fromarray(ramp).save(mine / "ramp.png")
    dark, found = data.load_dataset(mine).images
    assert dark.max() <= 1
    assert np.abs(found[0, 0].numpy().astype(int) - np.linspace(0, 255, 32)).max() <= 1


@pytest.mark.parametrize("ending", ["webp", "png"])
def test_of_a_moving_picture_the_first_frame_is_taken(mine, ending):
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue")]
    frames[0].save(mine / f"a.{ending}", save_all=True, append_images=frames[1:], lossless=True)
    assert data.load_dataset(mine).images[0].float().mean((1, 2)).tolist() == [255, 0, 0]


def test_no_file_makes_pillow_start_another_program(mine, monkeypatch):
    """PostScript is drawn by Ghostscript: a file that only calls itself .png must not reach it."""
    started = []
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: started.append(a))
    (mine / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    put(mine / "b.png")
    with pytest.warns(UserWarning, match="a.png .UnidentifiedImageError"):
        assert len(data.load_dataset(mine)) == 1
    assert not started


def test_a_turned_photograph_stands_upright(mine):
    picture = Image.new("RGB", (32, 32))
    picture.paste((255, 255, 255), (0, 0, 32, 16))  # white above
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 270 degrees to see it upright
    picture.rotate(90).save(mine / "a.png", exif=exif)
    found = data.load_dataset(mine).images[0].float() / 255
    assert found[:, :16].mean() == 1 and found[:, 16:].mean() == 0


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (31, 32), (5000, 3000), (1, 5000)])
def test_tiny_huge_and_narrow(mine, size):
    put(mine / "a.jpg", size=size)
    put(mine / "b.png", size=size)
    assert data.load_dataset(mine, size=24).images.shape == (2, 3, 24, 24)


def test_a_jpeg_beyond_pillows_limit_is_decoded_at_an_eighth(mine, monkeypatch):
    put(mine / "a.jpg", (200, 30, 60), size=(400, 300))
    put(mine / "b.png", size=(400, 300))
    put(mine / "c.png", size=(8, 8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5_000)  # as if they had hundreds of megapixels
    with pytest.warns(UserWarning, match="1 of 3 files.*b.png"):
        found = data.load_dataset(mine, size=8)
    assert len(found) == 2 and Image.MAX_IMAGE_PIXELS == 5_000
    assert (found.images[0].float().mean((1, 2)) - torch.tensor([200, 30, 60])).abs().max() < 6
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 700)  # even an eighth is too large
    with pytest.warns(UserWarning, match="2 of 3 files.*a.jpg.*DecompressionBombError"):
        assert len(data.load_dataset(mine, size=9)) == 1


def test_the_middle_square_is_kept_and_scaled_as_pillow_does(mine):
    pixels = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(mine / "a.png")
    want = Image.fromarray(pixels[:, 15:75]).resize((32, 32), Image.Resampling.BILINEAR)
    assert np.array_equal(data.load_dataset(mine).images[0], np.asarray(want).transpose(2, 0, 1))


def test_trees_and_classes(mine):
    put(mine / "cat" / "deep" / "er" / "a.png")
    put(mine / "cat" / "b.png")
    put(mine / "Hund mit Ümläut" / "c.png")
    put(mine / "loose.png")
    put(mine / ".hidden.png")
    (mine / "notes.txt").write_text("no picture")
    found = data.load_dataset(mine)
    assert found.classes == ("Hund mit Ümläut", "cat") and found.name == "mine"
    assert found.labels.tolist() == [0, 1, 1, -1]


def test_links_are_followed_once(mine):
    """Data sets are often folders of links to another disk."""
    put(mine.parent / "elsewhere" / "a.png", 1, mode="L")
    put(mine / "dog" / "b.png", 2, mode="L")
    (mine / "cat").symlink_to(mine.parent / "elsewhere")
    (mine / "dog" / "c.png").symlink_to(mine / "dog" / "b.png")
    (mine / "dog" / "back").symlink_to(mine)  # a circle
    (mine / "dog" / "gone.jpg").symlink_to(mine / "nothing here")
    os.mkfifo(mine / "dog" / "pipe.png")  # opening it would wait for ever
    with pytest.warns(UserWarning, match="2 of 5 files"):
        found = data.load_dataset(mine)
    assert found.classes == ("cat", "dog")
    assert found.images[:, 0, 0, 0].tolist() == [1, 2, 2] and found.labels.tolist() == [0, 1, 1]
    assert [line.split(" ")[0] for line in found.left_out] == ["dog/gone.jpg", "dog/pipe.png"]


def test_hidden_folders_are_no_class(mine):
    put(mine / "cat" / "a.png")
    put(mine / ".ipynb_checkpoints" / "b.png")
    put(mine / "cat" / ".thumbnails" / "c.png")
    put(mine / "__MACOSX" / "cat" / "._a.png")
    found = data.load_dataset(mine)
    assert found.classes == ("cat",) and found.labels.tolist() == [0]


def test_a_folder_that_may_not_be_read_is_named(mine, monkeypatch):
    put(mine / "cat" / "a.png")
    put(mine / "dog" / "a.png")
    scan = os.scandir

    def refuse(path):  # an administrator, who may run this, is refused nothing
        if str(path).endswith("dog"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.warns(UserWarning, match="dog .PermissionError"):
        assert data.load_dataset(mine).classes == ("cat",)


def test_a_class_may_be_called_train(mine):
    for name in ("bus", "car", "train"):
        put(mine / name / "a.png")
    assert data.load_dataset(mine).classes == ("bus", "car", "train")
    with pytest.raises(FileNotFoundError, match="no folder 'test'"):
        data.load_dataset(mine, "test")
    put(mine / "test" / "bus" / "a.png")  # now it is a split, whatever lies beside it
    (mine / "train" / "car").mkdir()
    assert data.load_dataset(mine, "test").classes == ("bus",)


def test_names_that_are_no_text_can_be_printed(mine):
    raw = os.fsencode(mine)
    os.mkdir(os.path.join(raw, b"ol\xe9"))
    os.mkdir(os.path.join(raw, b"two\nlines"))
    for name in (b"ol\xe9/a\xff.png", b"two\nlines/tab\t.png"):
        with open(os.path.join(raw, name), "wb") as file:
            Image.new("RGB", (8, 8)).save(file, "PNG")
    with open(os.path.join(raw, b"ol\xe9/bad\xff\n.png"), "wb") as file:
        file.write(b"nothing")
    for _ in range(2):  # decoded, then from the cache
        with pytest.warns(UserWarning, match="1 of 3 files") as said:
            found = data.load_dataset(mine)
        assert len(found) == 2 and found.labels.tolist() == [0, 1]
        for text in (*found.classes, *found.left_out, str(said[0].message)):
            assert text.encode() and text.isprintable(), "a notebook could not print it"
        assert found.classes == (r"ol\xe9", r"two\nlines")


def test_one_class_is_one_class(mine):
    put(mine / "only" / "a.png")
    assert data.load_dataset(mine).labels.tolist() == [0]


@pytest.mark.parametrize("name", ["", "x" * 5000, "no\0name", None, 3, b"cifar10"])
def test_what_names_no_folder_is_refused(name):
    with pytest.raises((ValueError, TypeError, FileNotFoundError), match="dataset must be"):
        data.load_dataset(name)


def test_a_file_in_place_of_a_folder_is_named(mine):
    put(mine / "a.png")
    with pytest.raises(FileNotFoundError, match="dataset must be .* an existing folder"):
        data.load_dataset(mine / "a.png")


def test_without_class_folders_there_are_no_labels(mine):
    put(mine / "a.png")
    found = data.load_dataset(mine)
    assert found.labels.tolist() == [-1] and found.classes == ()


def test_splits(mine):
    put(mine / "train" / "cat" / "a.png", 1, mode="L")
    put(mine / "test" / "cat" / "b.png", 2, mode="L")
    assert data.load_dataset(mine, "train").images.max() == 1
    assert data.load_dataset(mine, "test").images.max() == 2
    with pytest.raises(FileNotFoundError, match="split_labels"):
        data.load_dataset(mine / "train", "test")  # those trained on are no test


def test_a_class_has_one_number_in_both_splits(mine):
    for name in ("ant", "bee", "cat"):
        put(mine / "train" / name / "0.png")
    for name in ("bee", "cat", "dog"):
        put(mine / "test" / name / "0.png")
    (mine / "train" / "emu").mkdir()
    (mine / "train" / "emu" / "0.png").write_text("broken")
    with pytest.warns(UserWarning, match="emu"):
        train = data.load_dataset(mine, "train")
    test = data.load_dataset(mine, "test")
    assert train.classes == test.classes == ("ant", "bee", "cat", "dog", "emu")
    assert train.labels.tolist() == [0, 1, 2] and test.labels.tolist() == [1, 2, 3]


def test_names_of_splits_may_have_capitals(mine):
    put(mine / "Train" / "a" / "0.jpe", (9, 9, 9))
    put(mine / "Test" / "a" / "0.jfif", (200, 200, 200))
    assert data.load_dataset(mine, "train").images.max() < 50
    assert data.load_dataset(mine, "test").images.min() > 150


def test_of_two_spellings_the_usual_one_is_the_split(mine):
    put(mine / "Train" / "a" / "0.png", (9, 9, 9))
    put(mine / "train" / "a" / "0.png", (200, 200, 200))
    put(mine / "test" / "a" / "0.png")
    if len(list(mine.iterdir())) == 3:  # else the file system does not tell them apart
        assert data.load_dataset(mine).images.min() > 150


def test_pictures_beside_a_split_are_named(mine):
    put(mine / "train" / "a" / "0.png")
    put(mine / "overview.png")
    with pytest.warns(UserWarning, match="overview.png .lies beside"):
        assert len(data.load_dataset(mine)) == 1
    put(mine / "train" / "logo.png")
    with pytest.warns(UserWarning, match="overview.png .lies beside"):
        found = data.load_dataset(mine)
    assert found.classes == ("a",) and found.labels.tolist() == [0, -1]


def test_twins_in_two_splits_are_told_apart_where_clocks_are_coarse(mine, monkeypatch):
    for split, color in (("train", (10, 10, 10)), ("test", (90, 90, 90))):
        put(mine / split / "a" / "0.bmp.png", color)
        size = (mine / split / "a" / "0.bmp.png").stat().st_size
    facts = os.stat_result((0o100644, 1, 1, 1, 0, 0, size, 5, 5, 5))
    real = Path.stat
    monkeypatch.setattr(_folder.Path, "stat", lambda self, **named: facts
                        if self.name == "0.bmp.png" else real(self, **named))
    assert int(data.load_dataset(mine, "train").images.max()) == 10
    assert int(data.load_dataset(mine, "test").images.max()) == 90


def test_broken_files_are_named_counted_and_left_out(mine):
    put(mine / "good.png")
    (mine / "empty.jpg").write_bytes(b"")
    (mine / "text.png").write_text("hello")
    file = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(file, "JPEG")
    (mine / "cut.jpg").write_bytes(file.getvalue()[:600])
    file = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(file, "PNG")
    (mine / "cut.png").write_bytes(file.getvalue()[:700])
    (mine / "folder.png").mkdir()
    for _ in range(2):  # decoded, then from the cache
        with pytest.warns(UserWarning, match="4 of 5 files under mine"):
            found = data.load_dataset(mine)
        assert len(found) == 1 and len(found.left_out) == 4
        assert {line.split(" ")[0] for line in found.left_out} == {
            "empty.jpg", "text.png", "cut.jpg", "cut.png"}
        assert str(mine) not in " ".join(found.left_out)


def test_nothing_left_is_an_error_that_says_why(mine):
    (mine / "a.png").write_text("hello")
    with pytest.raises(FileNotFoundError, match="1 files, 1 broken: a.png .UnidentifiedImage"):
        data.load_dataset(mine)


def test_it_is_decoded_once(mine, monkeypatch):
    for i in range(5):
        put(mine / f"{i}.png", i, mode="L")
    first = data.load_dataset(mine)
    monkeypatch.setattr(_folder, "decode", None)
    again = data.load_dataset(mine)
    assert torch.equal(first.images, again.images)
    assert first.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert cached(mine) == [".json", ".pixels"]


def test_the_cache_is_of_these_files_and_this_size(mine):
    put(mine / "a.png", 1, mode="L")
    state = (mine / "a.png").stat()
    assert data.load_dataset(mine).images.max() == 1
    put(mine / "a.png", 9, mode="L")  # same name, same length
    assert (mine / "a.png").stat().st_size == state.st_size
    os.utime(mine / "a.png", ns=(state.st_atime_ns, state.st_mtime_ns))  # and the same date
    assert data.load_dataset(mine).images.max() == 9
    assert data.load_dataset(mine, size=16).images.shape[-1] == 16
    put(mine / "b.png", 3, mode="L")
    assert len(data.load_dataset(mine)) == 2


@pytest.mark.parametrize("harm", [
    lambda facts: facts["names"].__setitem__(0, "b/other.png"),
    lambda facts: facts["names"].reverse(),
    lambda facts: facts["left_out"].append("x.png (never there)"),
    lambda facts: facts.pop("left_out"),
    lambda facts: facts.update(names=3),
])
def test_a_changed_index_is_noticed_and_made_again(mine, harm):
    for i in (1, 2):
        put(mine / f"{i}" / "a.png", i, mode="L")
    data.load_dataset(mine)
    index = next((mine.parent / "cache" / "folders").glob("*.json"))
    facts = json.loads(index.read_text())
    harm(facts)
    index.write_text(json.dumps(facts))
    for _ in range(2):
        found = data.load_dataset(mine)
        assert found.classes == ("1", "2") and not found.left_out
        assert found.images[:, 0, 0, 0].tolist() == [1, 2]


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b'{"names": ["1/a.png"', b"\xff\xfe\0",
                                     b'"names"', b"[" * 100_000])
def test_an_index_that_is_none_is_made_again(mine, content):
    put(mine / "1" / "a.png", 7, mode="L")
    data.load_dataset(mine)
    next((mine.parent / "cache" / "folders").glob("*.json")).write_bytes(content)
    assert data.load_dataset(mine).images.max() == 7


def test_halves_of_killed_processes_are_swept(mine):
    put(mine / "a.png")
    folder = mine.parent / "cache" / "folders"
    folder.mkdir(parents=True)
    for name, age in (("old.1-a.half", 2), ("fresh.2-b.half", 0)):
        (folder / name).write_bytes(b"half")
        os.utime(folder / name, (time.time() - 86400 * age,) * 2)
    data.load_dataset(mine)
    assert {p.name for p in folder.glob("*.half")} == {"fresh.2-b.half"}


def test_a_picture_that_vanishes_while_it_is_read_is_left_out(mine, monkeypatch):
    put(mine / "a.png")
    put(mine / "b.png")
    key = _folder._key

    def and_delete(base, files, size):
        (mine / "b.png").unlink(missing_ok=True)
        return key(base, files, size)

    monkeypatch.setattr(_folder, "_key", and_delete)
    with pytest.warns(UserWarning, match="b.png .FileNotFoundError"):
        assert len(data.load_dataset(mine)) == 1


def test_writing_into_the_pictures_does_not_reach_the_cache(mine):
    put(mine / "a.png", 1, mode="L")
    data.load_dataset(mine).images.fill_(0)
    assert data.load_dataset(mine).images.max() == 1


@pytest.mark.parametrize("harm", ["cut", "gone", "index", "noise"])
def test_a_damaged_cache_is_made_again(mine, harm):
    put(mine / "a.png", 1, mode="L")
    data.load_dataset(mine)
    pixels, = (mine.parent / "cache" / "folders").glob("*.pixels")
    if harm == "cut":
        pixels.write_bytes(pixels.read_bytes()[:-1])
    elif harm == "gone":
        pixels.unlink()
    else:
        pixels.with_suffix(".json").write_text("{" if harm == "index" else json.dumps([1]))
    assert data.load_dataset(mine).images.max() == 1
    assert cached(mine) == [".json", ".pixels"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_without_a_place_for_the_cache_it_works_from_memory(mine, monkeypatch, code):
    put(mine / "a.png", 1, mode="L")

    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(_folder.os, "fsync", fail)
    assert data.load_dataset(mine).images.max() == 1
    assert not list((mine.parent / "cache" / "folders").iterdir())
    monkeypatch.setattr(_folder, "_IN_MEMORY", 100)
    with pytest.raises(OSError, match="needs 0.0 GB.*SIMCLR_TUT_CACHE"):
        data.load_dataset(mine)
    monkeypatch.undo()


def _load_in_a_process(root, cache, start, answers):
    os.environ["SIMCLR_TUT_CACHE"] = cache
    os.environ.pop("SIMCLR_TUT_DATA", None)
    start.wait()
    images = data.load_dataset(Path(root)).images
    answers.put((images.long().sum().item(), len(images)))


def test_two_processes_build_the_same_cache_at_once(mine):
    for i in range(300):
        put(mine / f"{i:03d}.png", i % 256, mode="L")
    start, answers = PROCESSES.Event(), PROCESSES.Queue()
    workers = [PROCESSES.Process(target=_load_in_a_process, args=(
        str(mine), str(mine.parent / "cache"), start, answers)) for _ in range(3)]
    for worker in workers:
        worker.start()
    start.set()
    found = {answers.get(timeout=120) for _ in workers}
    for worker in workers:
        worker.join(60)
    assert found == {(sum(i % 256 for i in range(300)) * 3 * 32 * 32, 300)}
    assert cached(mine) == [".json", ".pixels"]


def test_a_process_killed_while_building_leaves_nothing_that_counts(mine):
    for i in range(20):
        put(mine / f"{i}.png", i, mode="L")
    code = ("import os, signal\nfrom simclr_tut import _folder, _mapped, data\n"
            "_folder.os.fsync = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
            f"data.load_dataset({str(mine)!r})")
    killed = subprocess.run([sys.executable, "-c", code])
    assert killed.returncode == -9 and cached(mine) == [".half"]
    assert len(data.load_dataset(mine)) == 20


def test_a_folder_of_many_pictures_needs_little_memory(mine):
    """Decoding holds a few pictures at a time, whatever the number: 60 MB here would show."""
    put(mine / "a.png", size=(8, 8))
    for i in range(1500):
        os.link(mine / "a.png", mine / f"{i:05d}.png")
    code = ("import resource\nfrom simclr_tut import data\n"
            "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            f"images = data.load_dataset({str(mine)!r}, size=128).images\n"
            "after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            "print(images.numel() / 1e6, (after - before) * 1024 / 1e6)")
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    total, grown = map(float, ran.stdout.split())
    assert total > 70 and grown < total / 2, (total, grown)


def test_memory_grows_by_less_than_the_pictures(mine):
    """The bound is for each further picture: of its 12 KB less than a third may stay resident."""
    put(mine / "few" / "a.png", size=(8, 8))
    for folder, count in (("few", 500), ("many", 5500)):
        (mine / folder).mkdir(exist_ok=True)
        for i in range(count):
            os.link(mine / "few" / "a.png", mine / folder / f"{i:05d}.png")
    code = ("import sys\nfrom benchmarks import folder\nfrom pathlib import Path\n"
            "print(folder.build(Path(sys.argv[1]), 64, 0)['peak'])")
    root = Path(__file__).parents[1]
    peaks = [float(subprocess.run([sys.executable, "-c", code, str(mine / name)], cwd=root,
                                  capture_output=True, text=True, check=True).stdout)
             for name in ("few", "many")]
    assert peaks[1] - peaks[0] < 5000 * 3 * 64 * 64 / 3 / 2**20, peaks


def resident_kb(mine):
    """What Linux counts of the cache as memory of this process."""
    place, total = str(mine.parent / "cache"), []
    with open("/proc/self/smaps", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if place in line:
                total.append(next(int(x.split()[1]) for x in lines if x.startswith("Rss:")))
    assert total, "the pictures are not mapped"
    return sum(total)


@pytest.fixture
def mapped(mine, monkeypatch):
    """Pictures of noise in the cache: 1,024 of 64 px, 12 MB; pages are let go of after each MB."""
    monkeypatch.setattr(_mapped, "_OFTEN", 2**20)
    monkeypatch.setattr(_mapped, "_LARGE", 2**20)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(mine / "a.png")
    for i in range(1023):
        os.link(mine / "a.png", mine / f"{i:05d}.png")
    return data.load_dataset(mine, size=64)


@pytest.mark.skipif(sys.platform != "linux", reason="only there pages are let go of")
def test_reading_all_pictures_keeps_few_in_memory(mapped, mine):
    """Else a folder of 100,000 pictures of 96 px would take 2.8 GB in its first epoch."""
    from simclr_tut import config, evaluation, models, training
    from simclr_tut.views import Views

    whole = mapped.images.nbytes / 1024
    model = models.build_model("tiny")
    features = evaluation.encode(model, mapped.images[::2], batch_size=64)
    assert resident_kb(mine) < whole / 4
    recipe = config.Recipe(epochs=1, batch_size=32, small_size=8, small_share=1.0, views=2)
    training.pretrain(models.build_model("tiny"), mapped.images, Views(8), recipe)
    assert resident_kb(mine) < whole / 2
    expected = mapped.images.clone()
    assert resident_kb(mine) > 0.9 * whole  # what reading without letting go leaves
    assert torch.equal(features, evaluation.encode(model, expected[::2], batch_size=64))
    some = torch.tensor([5, 1000, 5])
    assert torch.equal(_mapped.take(mapped.images.flip(0)[3:], some), expected.flip(0)[3:][some])
    assert torch.equal(_mapped.take(mapped.images[:, 1:, 7:], some), expected[some][:, 1:, 7:])


def test_what_was_written_into_the_pictures_stays(mapped):
    from simclr_tut import evaluation, models

    model = models.build_model("tiny")
    before = evaluation.encode(model, mapped.images, batch_size=64)
    mapped.images[700] = 7
    after = evaluation.encode(model, mapped.images, batch_size=64)
    assert (mapped.images[700] == 7).all()
    assert (before != after).any(dim=1).nonzero().flatten().tolist() == [700]


@pytest.mark.skipif(sys.platform != "linux", reason="only there pages are let go of")
def test_pages_are_let_go_of_beside_what_was_written(mapped, mine):
    mapped.images[700] = 7
    for batch in _mapped.in_turn(mapped.images[:512], 64):
        batch.sum()
    assert resident_kb(mine) < mapped.images[:512].nbytes / 1024 / 2
    assert (_mapped.take(mapped.images, torch.tensor([3, 700]))[1] == 7).all()


def test_where_nobody_can_say_what_was_written_reading_is_plain_indexing(mapped, monkeypatch):
    def hidden(path, *_):
        raise FileNotFoundError(path)

    mapped.images[700] = 7
    monkeypatch.setattr(_mapped.os, "open", hidden)
    for chosen in (torch.tensor([700, 1]), slice(698, 702)):
        assert torch.equal(_mapped.take(mapped.images, chosen), mapped.images[chosen])


@pytest.mark.skipif(sys.platform != "linux", reason="only there pages are let go of")
def test_what_is_written_while_another_thread_reads_stays(mapped):
    done = threading.Event()

    def read():
        while not done.is_set():
            for batch in _mapped.in_turn(mapped.images, 64):
                batch.sum()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for i in range(300):
            mapped.images[i] = 7
            time.sleep(0.002)
            assert (mapped.images[i] == 7).all()
    finally:
        done.set()
        reader.join()


@pytest.mark.skipif(sys.platform != "linux", reason="sparse files, and what Linux promises")
def test_a_cache_larger_than_the_memory_is_mapped(tmp_path):
    kb = {line.split(":")[0]: int(line.split()[1]) for line in open("/proc/meminfo")}
    n = int(1.3 * (kb["MemTotal"] + kb["SwapTotal"]) * 1024) // (3 * 96 * 96)
    with open(tmp_path / "large.pixels", "wb") as file:
        file.truncate(n * 3 * 96 * 96)  # a hole: it takes no space
    images = _mapped.map_pictures(tmp_path / "large.pixels", (n, 3, 96, 96))
    assert _mapped.take(images, torch.tensor([n - 1, 5])).sum() == 0


def test_what_could_not_be_read_for_a_while_is_read_later(mine, monkeypatch):
    for name in "abc":
        put(mine / f"{name}.png")
    decode, trouble = _folder.decode, {"b.png": OSError(errno.EIO, "Input/output error")}

    def failing(path, size):
        if getattr(path, "name", "") in trouble:
            raise trouble[path.name]
        return decode(path, size)

    monkeypatch.setattr(_folder, "decode", failing)
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"b.png .OSError: .Errno 5"):
            assert len(data.load_dataset(mine)) == 2
    trouble.clear()
    assert len(data.load_dataset(mine)) == 3


def test_trouble_that_is_over_when_the_cache_is_done_costs_a_second_try(mine, monkeypatch):
    put(mine / "a.png")
    put(mine / "b.png")
    decode, tried = _folder.decode, []

    def failing_once(path, size):
        tried.append(path.name)
        if path.name == "b.png" and tried.count("b.png") == 1:
            raise MemoryError
        return decode(path, size)

    monkeypatch.setattr(_folder, "decode", failing_once)
    with pytest.warns(UserWarning, match="b.png"):
        assert len(data.load_dataset(mine)) == 1
    assert len(data.load_dataset(mine)) == 2


def test_pixels_that_something_else_wrote_into_are_made_again(mine):
    put(mine / "a.png", 9, mode="L")
    data.load_dataset(mine)
    pixels, = (mine.parent / "cache" / "folders").glob("*.pixels")
    os.utime(pixels, ns=(1, pixels.stat().st_mtime_ns))
    pixels.write_bytes(bytes(pixels.stat().st_size))
    assert data.load_dataset(mine).images.max() == 9


def test_an_interrupt_leaves_no_half_of_a_cache(mine, monkeypatch):
    put(mine / "a.png")

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(_folder, "_decode_all", interrupted)
    with pytest.raises(KeyboardInterrupt):
        data.load_dataset(mine)
    assert cached(mine) == []


def test_classes_that_link_to_each_other_hold_each_picture_once(mine):
    names = "abcd"
    for name in names:
        put(mine / name / f"{name}.png")
        for other in set(names) - {name}:
            (mine / name / other).symlink_to(mine / other)
    found = data.load_dataset(mine)
    assert len(found) == 16 and found.labels.bincount().tolist() == [4] * 4


def test_a_picture_in_a_locked_place_is_left_out(mine, monkeypatch):
    put(mine / "a.png")
    put(mine / "b.png")
    stat = os.stat

    def locked(path, *rest, **named):
        if str(path).endswith("b.png"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat(path, *rest, **named)

    monkeypatch.setattr(os, "stat", locked)
    with pytest.warns(UserWarning, match=r"b.png .no file that may be read"):
        assert len(data.load_dataset(mine)) == 1


def test_a_class_is_one_class_in_both_ways_to_write_it(mine):
    for folder, name in (("train", "e\u0301"), ("test", "\xe9"), ("train", "z"), ("test", "z")):
        put(mine / folder / name / "a.png")
    train, test = (data.load_dataset(mine, split) for split in ("train", "test"))
    assert train.classes == test.classes == ("z", "\xe9")
    assert train.labels.sort().values.tolist() == test.labels.sort().values.tolist() == [0, 1]


def test_training_on_a_folder_is_training_on_a_tensor(mine):
    from simclr_tut import config, models, training
    from simclr_tut.views import Views

    rng = np.random.default_rng(0)
    for i in range(12):
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(mine / f"{i}.png")
    found = data.load_dataset(mine)
    recipe = config.Recipe(steps=2, batch_size=4, small_size=None)
    weights = []
    for images in (found.images, found.images.clone()):
        torch.manual_seed(0)
        model = models.build_model("tiny")
        training.pretrain(model, images, Views(32), recipe)
        weights.append(model.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(*(w.values() for w in weights), strict=True))


def test_a_path_that_is_long_and_not_ascii(mine):
    deep = mine
    for part in ("Füße", "写真", "Ångström " * 10, "x" * 100):
        deep = deep / part
    put(deep / "Äpfel 🍎.png", 5, mode="L")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = data.load_dataset(mine)
    assert found.classes == ("Füße",) and found.images.max() == 5


def test_broken_pictures_end_nothing_where_warnings_are_errors(mine, capsys):
    put(mine / "a.png")
    (mine / "b.png").write_bytes(b"no picture")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(data.load_dataset(mine)) == 1
    assert "1 of 2 files" in capsys.readouterr().err


@pytest.mark.parametrize("size", [0, -3, 2.5, "32"])
def test_a_size_that_is_none_is_named(mine, size):
    with pytest.raises(ValueError, match="size must be"):
        data.load_dataset(mine, size=size)
