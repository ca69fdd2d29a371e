"""Pictures from a user's files, good and bad."""

import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from semeia.media.images import decode_image, find_images, read_image, write_image
from semeia.records import SemeiaError


def gradient(height=24, width=32):
    """A picture whose corners differ, (H, W, 3) uint8."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // (width - 1), y * 255 // (height - 1), np.full_like(x, 60)], axis=-1).astype(np.uint8)


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width, height, *, depth, colour, rows):
    """A PNG file from its header and its raw rows, which Pillow cannot write itself."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def refusal(path, **options):
    """The one line that refuses a file."""
    with pytest.raises(SemeiaError) as caught:
        read_image(path, **options)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    return text


@pytest.mark.parametrize("suffix", ["png", "webp", "jpg"])
def test_a_picture_is_read_as_rgb(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(gradient()).save(path, quality=95)

    image = read_image(path)

    assert image.shape == (24, 32, 3)
    assert image.dtype == np.uint8
    assert image.flags.writeable
    assert np.abs(image.astype(int) - gradient()).mean() < (0.1 if suffix == "png" else 6)


def test_the_first_bytes_decide_and_not_the_name(tmp_path):
    path = tmp_path / "really_a_png.jpg"
    Image.fromarray(gradient()).save(path, format="PNG")
    assert (read_image(path) == gradient()).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_honoured(tmp_path, orientation):
    upright = gradient()
    # How the camera would have stored the upright picture; the inverse of what the tag asks the reader to do.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.png"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)

    assert (read_image(path) == upright).all()


def test_a_damaged_exif_block_is_ignored(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(gradient()).save(path, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff\xff\xff")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(path).shape == (24, 32, 3)


def test_sixteen_bit_grey_is_scaled_to_eight(tmp_path):
    path = tmp_path / "grey16.png"
    values = np.array([[0, 257, 32_896, 65_535]], dtype=np.uint16)
    Image.fromarray(values).save(path)
    assert read_image(path)[0, :, 0].tolist() == [0, 1, 128, 255]


def test_sixteen_bit_colour_is_scaled_to_eight(tmp_path):
    path = tmp_path / "colour16.png"
    path.write_bytes(png(2, 1, depth=16, colour=2, rows=[struct.pack(">6H", 0, 32_896, 65_535, 65_535, 257, 0)]))
    assert read_image(path).tolist() == [[[0, 128, 255], [255, 1, 0]]]


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_grey_of_few_bits_is_spread_to_eight(tmp_path, depth):
    path = tmp_path / "few.png"
    path.write_bytes(png(2, 1, depth=depth, colour=0, rows=[bytes([(2**depth - 1) << (8 - 2 * depth)])]))
    assert read_image(path)[0, :, 0].tolist() == [0, 255]


def test_cmyk_jpeg_keeps_its_colours(tmp_path):
    path = tmp_path / "cmyk.jpg"
    Image.fromarray(np.full((16, 16, 3), (250, 30, 20), np.uint8)).convert("CMYK").save(path, quality=95)

    red = read_image(path)[8, 8]

    # Adobe stores ink inverted; read the wrong way round this would come out cyan.
    assert red[0] > 200
    assert red[1] < 60
    assert red[2] < 60


def test_an_unusable_colour_profile_is_ignored(tmp_path):
    path = tmp_path / "cmyk.jpg"
    rgb_profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.new("CMYK", (16, 16), (0, 0, 0, 0)).save(path, icc_profile=rgb_profile)
    assert read_image(path).min() > 250


def test_a_palette_is_looked_up(tmp_path):
    path = tmp_path / "palette.png"
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 200, 100, 50])
    picture.putdata([0, 1])
    picture.save(path)
    assert read_image(path).tolist() == [[[10, 20, 30], [200, 100, 50]]]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_on_white(tmp_path, mode):
    path = tmp_path / "alpha.png"
    picture = Image.fromarray(np.array([[[0, 0, 0, 0], [0, 0, 0, 255]]], np.uint8)).convert(mode)
    picture.save(path)
    assert read_image(path).tolist() == [[[255, 255, 255], [0, 0, 0]]]


def test_a_transparent_palette_entry_is_laid_on_white(tmp_path):
    path = tmp_path / "palette.png"
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 200, 100, 50])
    picture.putdata([0, 1])
    picture.save(path, transparency=0)
    assert read_image(path).tolist() == [[[255, 255, 255], [200, 100, 50]]]


def test_one_pixel_is_a_picture(tmp_path):
    path = tmp_path / "one.png"
    Image.new("RGB", (1, 1), (1, 2, 3)).save(path)
    assert read_image(path).tolist() == [[[1, 2, 3]]]


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_the_first_frame_of_an_animation_is_read(tmp_path, suffix):
    path = tmp_path / f"moving.{suffix}"
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
    assert read_image(path)[4, 4].tolist() == [255, 0, 0]


@pytest.mark.parametrize("side", [11_000, 30_000])
def test_a_huge_picture_is_refused_by_its_header_alone(tmp_path, side):
    path = tmp_path / "huge.png"
    # The header promises more pixels than the file holds: decoding would fail in another way.
    path.write_bytes(png(side, side, depth=8, colour=2, rows=[]))
    assert "at most 120,000,000 pixels" in refusal(path)


def test_the_pixel_cap_can_be_chosen(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(gradient()).save(path)
    assert "found 32 x 24 = 768" in refusal(path, max_pixels=767)
    assert read_image(path, max_pixels=768).shape == (24, 32, 3)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_a_truncated_picture_is_refused_as_truncated(tmp_path, suffix, share):
    path = tmp_path / f"cut.{suffix}"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: max(16, int(len(content) * share))])
    assert "truncated" in refusal(path)


def test_a_damaged_png_is_refused(tmp_path):
    path = tmp_path / "damaged.png"
    Image.fromarray(gradient(64, 64)).save(path)
    content = bytearray(path.read_bytes())
    content[60:90] = bytes(30)
    path.write_bytes(content)
    assert "damaged" in refusal(path)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "0 bytes"),
        (b"hello, I am a letter", "something else"),
        (b"GIF89a" + bytes(50), "a GIF"),
        (b"BM" + bytes(50), "a BMP picture"),
        (b"II*\0" + bytes(50), "a TIFF picture"),
        (b"%PDF-1.7", "a PDF document"),
        (b"\0\0\0\x18ftypheic" + bytes(20), "an HEIC picture"),
        (b"\0\0\0\x18ftypisom" + bytes(20), "a video"),
        (b"\xff\xd8\xff", "truncated or damaged JPEG"),
    ],
)
def test_what_is_no_picture_is_named(tmp_path, content, kind):
    path = tmp_path / "letter.jpg"
    path.write_bytes(content)
    assert kind in refusal(path)


def test_a_folder_is_no_picture(tmp_path):
    assert "found a folder" in refusal(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    assert "found no such file" in refusal(tmp_path / "nowhere.jpg")


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    path = tmp_path / "secret.png"
    Image.fromarray(gradient()).save(path)

    def refuse(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refuse)
    assert "Permission denied" in refusal(path)


def test_a_folder_is_walked_in_order_and_files_are_taken_as_they_are(tmp_path):
    for name in ("b.PNG", "a.jpg", "sub/c.webp", "notes.txt", ".hidden.jpg", ".cache/d.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    found = find_images([tmp_path / "notes.txt", tmp_path, tmp_path / "missing.jpg"])

    assert [str(file.relative_to(tmp_path)) for file in found] == [
        "notes.txt", "a.jpg", "b.PNG", "sub/c.webp", "missing.jpg",
    ]  # fmt: skip


def test_a_folder_below_a_hidden_one_is_walked_when_it_is_named(tmp_path):
    folder = tmp_path / ".photos"
    folder.mkdir()
    (folder / "a.jpg").touch()
    assert find_images([folder]) == [folder / "a.jpg"]


def test_nothing_to_read_is_an_error(tmp_path):
    with pytest.raises(SemeiaError, match=r"expected JPEG, PNG or WebP.*found none"):
        find_images([tmp_path])


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_a_written_picture_is_read_back(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    path.write_text("an older file")

    write_image(path, gradient())

    assert np.abs(read_image(path).astype(int) - gradient()).mean() < (0.1 if suffix == ".png" else 6)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_an_unknown_ending_is_refused(tmp_path):
    with pytest.raises(SemeiaError, match=r"expected a name that ends in \.jpg"):
        write_image(tmp_path / "out.gif", gradient())


def test_nothing_is_left_where_a_picture_cannot_be_written(tmp_path):
    with pytest.raises(SemeiaError, match="cannot be written"):
        write_image(tmp_path / "nowhere" / "out.png", gradient())
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(SemeiaError, match="cannot be written"):
        write_image(tmp_path / "taken.png", gradient())
    assert [file.name for file in tmp_path.iterdir()] == ["taken.png"]


def test_bytes_inside_another_file_are_read_as_a_file_is(tmp_path):
    Image.fromarray(np.full((6, 5, 4), (10, 90, 160, 30), np.uint8), "CMYK").save(tmp_path / "print.jpg")
    content = (tmp_path / "print.jpg").read_bytes()
    assert (decode_image(content, "shard.tar/print.jpg") == read_image(tmp_path / "print.jpg")).all()
    for broken in (b"", b"no picture", content[:200]):
        with pytest.raises(SemeiaError, match=r"^shard.tar/print.jpg: "):
            decode_image(broken, "shard.tar/print.jpg")
