"""Frames of videos by `#t=`, of files that PyAV makes here: the right frame, upright, and every refusal in one line."""

import struct
from pathlib import Path

import av
import pytest
from PIL import Image as PIL

from pixtral_cli import images
from pixtral_cli.errors import ImageError
from pixtral_cli.extras import install_command
from pixtral_cli.images import folders
from pixtral_cli.images.formats import has_picture_extension
from pixtral_cli.images.video import seconds_of, split_moment
from pixtral_cli.terminal.repl import attachments
from pixtral_cli.terminal.repl.input_parser import Question, parse
from tests.cli.calling import pixtral

COLOURS = ("red", "lime", "blue")  # one a second
SIZE = (96, 64)


def film(file: Path, codec: str = "mpeg4", *, rate: int = 10, start: int = 0) -> Path:
    """Three seconds, of one colour each; the right third is white."""
    with av.open(str(file), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for number in range(3 * rate):
            picture = PIL.new("RGB", SIZE, COLOURS[number // rate])
            picture.paste("white", (64, 0, 96, 64))
            frame = av.VideoFrame.from_image(picture)
            frame.pts = number + start
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file


def colour(image: images.Image, at: tuple[int, int] = (20, 30)) -> str:
    """The name of the colour that a point is nearest to."""
    found = image.pixels().convert("RGB").getpixel(at)
    assert isinstance(found, tuple)
    named = {"red": (255, 0, 0), "lime": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}
    return min(named, key=lambda name: sum(abs(a - b) for a, b in zip(found, named[name], strict=True)))


def load(name: Path | str) -> images.Image:
    (image,) = images.load_all(str(name), typed=True)
    return image


@pytest.mark.parametrize(
    ("moment", "shown"),
    [("0", "red"), ("0.95", "red"), ("1", "lime"), ("1.55", "lime"), ("2", "blue"), ("2.99", "blue"), ("0:01", "lime"), ("00:00:02.5", "blue")],
)  # fmt: skip
def test_the_frame_that_is_shown_at_a_moment_is_read(tmp_path: Path, moment: str, shown: str) -> None:
    image = load(f"{film(tmp_path / 'my clip.mp4')}#t={moment}")
    assert (image.name, image.size) == (f"my clip.mp4#t={moment}", SIZE)
    assert (colour(image), colour(image, (80, 30))) == (shown, "white")


@pytest.mark.parametrize(("name", "codec"), [("a.webm", "libvpx"), ("a.mkv", "mpeg4"), ("a.avi", "mpeg4"), ("a.MOV", "mpeg4"), ("a.mpg", "mpeg1video")])  # fmt: skip
def test_the_usual_containers_are_read(tmp_path: Path, name: str, codec: str) -> None:
    assert colour(load(f"{film(tmp_path / name, codec, rate=25)}#t=1.4")) == "lime"


def test_a_film_that_does_not_begin_at_zero_is_counted_from_its_beginning(tmp_path: Path) -> None:
    assert colour(load(f"{film(tmp_path / 'late.mkv', start=70)}#t=1.4")) == "lime"


def test_a_frame_is_upright_as_the_camera_was_held(tmp_path: Path) -> None:
    data = bytearray(film(tmp_path / "a.mp4").read_bytes())
    matrix = data.index(b"tkhd") + 44
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 64 << 16, 0, 1 << 30)  # clockwise
    (tmp_path / "held.mp4").write_bytes(data)
    image = load(tmp_path / "held.mp4#t=1")
    assert image.size == SIZE[::-1]
    assert (colour(image, (30, 20)), colour(image, (30, 85))) == ("lime", "white")


def refusal(name: Path | str) -> str:
    with pytest.raises(ImageError) as error:
        images.load_all(str(name), typed=True)
    return f"{error.value.message}. {error.value.hint}"


def test_a_moment_after_the_end_and_no_moment_say_what_can_be_named(tmp_path: Path) -> None:
    clip = film(tmp_path / "clip.mp4")
    assert refusal(f"{clip}#t=7.5") == "clip.mp4 has no moment 7.5 s. It is 3.0 seconds long"
    assert refusal(clip).endswith("a video, of which one frame can be sent. Name its second: clip.mp4#t=3")
    assert "no such file" in refusal(tmp_path / "none.mp4#t=1")
    (tmp_path / "folder.mp4").mkdir()
    assert "is a directory" in refusal(tmp_path / "folder.mp4")


def test_damaged_files_and_playlists_that_are_called_videos_are_refused(tmp_path: Path) -> None:
    clip = film(tmp_path / "clip.mp4")
    (tmp_path / "cut.mp4").write_bytes(clip.read_bytes()[:900])
    (tmp_path / "text.mp4").write_text("This is no video.\n" * 50)
    (tmp_path / "list.mp4").write_text(f"ffconcat version 1.0\nfile '{clip}'\n")
    (tmp_path / "list.mkv").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{clip}\n#EXT-X-ENDLIST\n")
    for name in ("cut.mp4", "text.mp4", "list.mp4", "list.mkv"):
        assert "this video is" in refusal(tmp_path / f"{name}#t=1")


def test_a_film_of_too_many_pixels_is_refused_by_its_size(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "huge.mov"), "w") as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 9000, 8000, "gray"
        frame = av.VideoFrame(9000, 8000, "gray")
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert "9000 × 8000 pixels" in refusal(tmp_path / "huge.mov#t=0")


def test_sound_alone_has_no_pictures(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "song.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        stream.layout = "mono"
        frame = av.AudioFrame("s16", "mono", 800)
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert "has no pictures in it" in refusal(tmp_path / "song.mkv#t=0")


def test_without_the_package_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "av.py").write_text("raise ModuleNotFoundError('no av', name='av')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hidden"))
    assert f"{install_command('video')}" in refusal(f"{film(tmp_path / 'clip.mp4')}#t=1")


def test_names_with_a_moment_are_pictures_names() -> None:
    assert split_moment("a/b.MP4#t=1:02:03.5") == ("a/b.MP4", "#t=1:02:03.5")
    assert seconds_of("#t=1:02:03.5") == 3723.5
    assert split_moment("a.mp4#2") is split_moment("a.png#t=3") is None
    assert has_picture_extension("my clip.mov#t=0:30")
    assert not any(map(has_picture_extension, ("clip.mp4", "clip.mp4#t=", ".mp4#t=3", "clip.mp3#t=3")))


def test_chat_and_ask_take_a_moment_of_a_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    film(tmp_path / "clip.mp4")
    assert folders.path_exists("clip.mp4#t=1")
    assert attachments.attach_problem("clip.mp4#t=1") == ""
    typed = parse("what is in clip.mp4#t=1?", folders.path_exists)
    assert isinstance(typed, Question)
    assert [source.name for source in typed.sources] == ["clip.mp4#t=1"]
    assert attachments.attach_problem("clip.mp4") == "is a video: say which second, clip.mp4#t=3"
    done = pixtral("ask", "What is this?", "--image", "clip.mp4#t=1", "--dry-run", "-m", "demo", "--no-stdin")
    assert done.status == 0, done.stderr
    assert "clip.mp4#t=1" in done.stdout
