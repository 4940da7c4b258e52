"""``folder:PATH?size=64`` and ``folder-audio:PATH``: any folder of images or clips as a dataset."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl

from flowbench.api.specs import ContextInput, DatasetSpec
from flowbench.data.library.folder_files import FolderConverter, FolderFiles, Kind
from flowbench.errors import ConfigError, DataError

if TYPE_CHECKING:
    from flowbench.api.data import Split

PREFIX, AUDIO_PREFIX = "folder:", "folder-audio:"
IMAGES = Kind("image", frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"}))
CLIPS = Kind("clip", frozenset({".wav"}))
IMAGE_RULES = 2  # version of how images become arrays; see flowbench.api.readers.as_rgb
CLIP_RULES = 1  # of how WAV files do; see flowbench.api.audio.read_clip
LOWEST_RATE, HIGHEST_RATE = 8_000, 192_000
PIECE = 100  # clips that are converted at a time


class ImageFolder(NamedTuple):
    """What ``folder:PATH?size=64`` asks for: files, and height and width of the images."""

    files: FolderFiles
    size: int


class ClipFolder(NamedTuple):
    """What ``folder-audio:PATH`` asks for: files, and values a second that clips must have."""

    files: FolderFiles
    rate: int


def is_folder(name: str) -> bool:
    """Whether a dataset's name is that of a folder."""
    return name.startswith((PREFIX, AUDIO_PREFIX))


def folder_spec(name: str) -> DatasetSpec:
    """The spec of a folder of images or of clips.

    Subfolders ``train``, ``test`` and ``validation`` (or ``val``) are its splits; with ``train``
    and ``val`` alone, ``val`` is the test split, as with ImageNet. Otherwise every tenth file by
    sorted path is a test example.

    Args:
        name: ``folder:PATH?size=64``, ``folder-audio:PATH`` or ``folder-audio:PATH?rate=16000``.

    Returns:
        The spec. Its collection names the prepared folder, and changes with the files.

    Raises:
        ConfigError: The name is malformed.
        DataError: There is no such folder, or too few examples in it.
    """
    return _spec_of_clips(name) if name.startswith(AUDIO_PREFIX) else _spec_of_images(name)


def folder_converter(name: str) -> FolderConverter:
    """What converts the folder of a name."""
    if name.startswith(AUDIO_PREFIX):
        return ClipConverter(_clip_folder(name))
    return ImageConverter(_image_folder(name))


def _spec_of_images(name: str) -> DatasetSpec:
    files, size = _image_folder(name)
    return DatasetSpec(
        name=f"{PREFIX}{files.path}?size={size}",
        modality="image",
        event_shape=(3, size, size),
        levels=256,
        **files.counts,
        convert=f"{__name__}:folder_converter",
        collection=files.collection(IMAGE_RULES, size),
        summary=f"images of a folder at {size}x{size} pixels",
        licence="that of the images",
        notes=(
            "The middle square of each image in 8-bit RGB (16 bit as v >> 8, turned by EXIF, laid "
            "on white where transparent, the first of several frames), scaled down bilinearly with "
            f"antialiasing. {files.in_words()}"
        ),
    )


def _spec_of_clips(name: str) -> DatasetSpec:
    from flowbench.api.audio import BANDS, MEL, MelForm

    files, rate = _clip_folder(name)
    form = MelForm.of(rate)
    values = sum((files.path / clip).stat().st_size for c in files.splits.values() for clip in c)
    return DatasetSpec(
        name=f"{AUDIO_PREFIX}{files.path}?rate={rate}",
        modality="audio",
        event_shape=(1, form.segment),
        levels=None,
        ragged=True,
        rate=rate,
        total_length=values // 2,
        **files.counts,
        context={MEL: ContextInput(shape=(BANDS, -(-form.segment // form.hop)), stride=form.hop)},
        convert=f"{__name__}:folder_converter",
        collection=files.collection(CLIP_RULES, rate),
        render="flowbench.api.audio:render",
        summary=f"clips of a folder at {rate:,} Hz, given their log-mel spectrograms",
        licence="that of the clips",
        notes=(
            "WAV files of one channel in 16 bits, scaled to [-1, 1), without dequantization, cut "
            f"at their ends to a multiple of {form.whole} values: a density of real numbers, which "
            f"has no bits per dimension. Nothing is resampled. Spectrograms of {BANDS} bands, "
            f"windows of {form.window:,}, {form.hop} apart. {files.in_words()}"
        ),
    )


class ImageConverter(FolderConverter):
    """Converts a folder of images."""

    def __init__(self, folder: ImageFolder) -> None:
        super().__init__(folder.files)
        self._size = folder.size

    def read(self, names: tuple[str, ...], lost: dict[str, str]) -> Iterator[Split[Any]]:
        """As `flowbench.api.readers.read_images`, the middle square of each."""
        # The registry, which imports this module, needs no readers.
        from flowbench.api.data import Split
        from flowbench.api.readers import center_square, open_archive, read_images

        crop = partial(center_square, size=self._size)
        with open_archive(self.files.path) as archive:
            for piece in read_images(archive, names, self._size, crop, lost.__setitem__):
                yield Split(x=piece)


class ClipConverter(FolderConverter):
    """Converts a folder of clips."""

    def __init__(self, folder: ClipFolder) -> None:
        super().__init__(folder.files)
        self._rate = folder.rate

    def read(self, names: tuple[str, ...], lost: dict[str, str]) -> Iterator[Split[Any]]:
        """As `flowbench.api.audio.read_clip`, with their spectrograms."""
        from flowbench.api.audio import MelForm, read_clip, with_mel

        form = MelForm.of(self._rate)
        for start in range(0, len(names), PIECE):
            waves = []
            for name in names[start : start + PIECE]:
                try:
                    content = (self.files.path / name).read_bytes()
                    waves.append(read_clip(content, "it", form))
                except (OSError, DataError) as exc:
                    lost[name] = str(exc)
            if waves:
                yield with_mel(waves, form)


def _image_folder(name: str) -> ImageFolder:
    path, settings = _parts(name, PREFIX)
    size = settings.pop("size", "")
    # `settings` holds what is not known: a misspelt `size` must not pass for a missing one.
    if not path or settings or not size.isdigit() or not 1 <= int(size) <= 4096:
        raise ConfigError(
            f"malformed dataset {name!r}; expected folder:PATH?size=N with N pixels, e.g. "
            "folder:photos?size=64"
        )
    return ImageFolder(FolderFiles.find(name, path, IMAGES), int(size))


def _clip_folder(name: str) -> ClipFolder:
    from flowbench.api.audio import rate_of

    path, settings = _parts(name, AUDIO_PREFIX)
    given = settings.pop("rate", None)
    if not path or settings or (given is not None and not _is_rate(given)):
        raise ConfigError(
            f"malformed dataset {name!r}; expected folder-audio:PATH or folder-audio:PATH?rate=N "
            f"with N from {LOWEST_RATE:,} to {HIGHEST_RATE:,} values a second, e.g. "
            "folder-audio:clips?rate=16000"
        )
    files = FolderFiles.find(name, path, CLIPS)
    if given is not None:
        return ClipFolder(files, int(given))
    rates = (rate_of(files.path / clip) for clip in files.splits["train"])
    rate = next((rate for rate in rates if rate is not None and _is_rate(str(rate))), None)
    if rate is None:
        raise DataError(
            f"{files.path}: no training clip is a WAV file of linear PCM with {LOWEST_RATE:,} to "
            f"{HIGHEST_RATE:,} values a second; convert them, e.g. by sox or ffmpeg"
        )
    return ClipFolder(files, rate)


def _is_rate(text: str) -> bool:
    return text.isdigit() and len(text) < 9 and LOWEST_RATE <= int(text) <= HIGHEST_RATE


def _parts(name: str, prefix: str) -> tuple[str, dict[str, str]]:
    """The path and the settings of a name."""
    path, _, query = name.removeprefix(prefix).partition("?")
    return path, dict(parse_qsl(query, keep_blank_values=True))
