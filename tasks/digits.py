"""Handwritten digits read as sequences: row by row, pixel by pixel, or in a permuted order."""

from __future__ import annotations

import functools
import gzip
import importlib
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tasks.base import require_choice
from tasks.classification import ClassEncoder, Classification
from tasks.data_set import NewInputs, Source, Split, dealt_out
from tasks.mapped import data_folder
from tasks.sequences import Sequences

NUMERICS = 1
"""Version of what this part computes. It is raised when the numbers change; `make numerics` says when that is so."""

IDX_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
"""The files of MNIST; each may end in ``.gz``."""
MOST = {"small": 16, "mnist": 255}
"""The largest value of a pixel, which stands for 1."""
PERMUTATION_SEED = 0
"""Seed of the one order of the pixels that ``order: permuted`` stands for."""


class ImageEncoder(ClassEncoder):
    """Reads the images of an IDX file, packed by gzip or not, with the size and the range of those of the training."""

    def __init__(self, kept: Mapping[str, Any]) -> None:
        super().__init__(kept)
        self.side, self.most, self.order = int(kept["side"]), int(kept["most"]), str(kept["order"])

    def read(self, source: Source) -> NewInputs:
        """Read a file of images."""
        if not isinstance(source, str):
            raise ValueError(f"`file` must be the path of an IDX file, got a {type(source).__name__}")
        path = Path(source).expanduser()
        if not path.is_file():
            raise ValueError(f"`file` must be an IDX file of images, got {source!r}, which is not there")
        images = _of_idx(path, 3, "file")
        if images.shape[1:] != (self.side, self.side):
            got = " x ".join(map(str, images.shape[1:]))
            raise ValueError(f"`file` must have images of {self.side} x {self.side} pixels, got {got}")
        if images.max() > self.most:
            raise ValueError(f"`file` must have pixels from 0 to {self.most}, got {images.max()}")
        sequences = _sequences((images / self.most).astype(np.float32), self.order)
        return NewInputs(sequences, {"image": np.arange(1, len(images) + 1)})


class Digits(Classification):
    """The digit of a handwritten image whose rows or pixels are shown one after the other.

    ``small`` are the 1,797 images of 8 x 8 pixels that scikit-learn carries, with pixels from 0 to 1. ``mnist`` are
    60,000 for training, of which a share is for validation, and 10,000 for the test, of 28 x 28.

    Args:
        images: ``"small"`` or ``"mnist"``.
        folder: Where the four IDX files of MNIST are, packed by gzip or not, in this folder or below it. Where they are
            not, they are looked for in ``mnist`` of the folder for data (:func:`tasks.mapped.data_folder`), and
            torchvision fetches them there where it is installed. ``None`` for ``small``.
        order: ``"rows"``: a row a step, from above; ``"pixels"``: a pixel a step, row by row; ``"permuted"``: a pixel
            a step in an order drawn once, the same for all images and runs.
        target: ``"digit"``, or ``"parity"``: odd or even, two classes.
        readout: What the answer is read from: ``"last"``, the state after the last real step, or ``"mean"``, the mean
            of the states of all real steps.
        validation: Share of the images that evaluations see, of each class the same; of ``mnist``, of those for
            training.
        test: Share of ``small`` that the test at the end sees; ``None`` for ``mnist``.
        solved_accuracy: The task counts as solved when at least this share of the evaluation set is right; more than
            the most frequent class has, and at most 1.

    Raises:
        ValueError: There are no images where they should be, or a value is out of range.

    References:
        Le, Jaitly & Hinton (2015), arXiv 1504.00941, section 4.2: pixel by pixel, and permuted; their order of pixels
        is not published. Bai, Kolter & Koltun (2018), arXiv 1803.01271, section 4: the same, all pixels between 0 and 1
        standardised. scikit-learn's images: Alpaydin & Kaynak (1998), Optical recognition of handwritten digits, UCI.
    """

    places = ("folder",)
    encoder = ImageEncoder

    def __init__(
        self,
        *,
        images: str,
        folder: str | None,
        order: str,
        target: str,
        readout: str,
        validation: float,
        test: float | None,
        solved_accuracy: float,
    ) -> None:
        require_choice("images", images, ("small", "mnist"))
        require_choice("order", order, ("rows", "pixels", "permuted"))
        require_choice("target", target, ("digit", "parity"))
        if (test is None) != (images == "mnist"):
            allowed = "null for mnist, which has a test set of its own" if images == "mnist" else "given for small"
            raise ValueError(f"`test` must be {allowed}, got {'null' if test is None else test}")
        if images == "small" and folder is not None:
            raise ValueError(f"`folder` must be null for small, got {folder!r}")
        if images == "small":
            pixels, labels = _small()
            splits = dealt_out(labels, validation, test or 0.0)
        else:
            if folder is None:
                raise ValueError("`folder` must be given for mnist, got null")
            pixels, labels, tested = _mnist(Path(folder).expanduser())
            splits = _without_test(labels[:-tested], validation, len(labels))
        self._kept = {"side": pixels.shape[-1], "most": MOST[images], "order": order}
        digits = [str(digit) for digit in range(10)]
        super().__init__(
            _sequences(pixels, order),
            labels % 2 if target == "parity" else labels,
            splits,
            ["even", "odd"] if target == "parity" else digits,
            readout=readout,
            solved_accuracy=solved_accuracy,
        )

    @property
    def kept(self) -> dict[str, Any]:
        """The classes, the size and the range of an image, and the order of its pixels."""
        return super().kept | self._kept

    def pooled(self, sequence: np.ndarray) -> np.ndarray:
        """Return the mean over the steps."""
        return sequence.mean(0)


def _sequences(pixels: np.ndarray, order: str) -> Sequences:
    """Return images, ``(images, side, side)``, as sequences."""
    side = pixels.shape[-1]
    if order == "rows":
        steps = pixels.reshape(-1, side)
    else:
        flat = pixels.reshape(len(pixels), -1)
        if order == "permuted":
            flat = flat[:, np.random.Generator(np.random.PCG64(PERMUTATION_SEED)).permutation(side * side)]
        steps = flat.reshape(-1, 1)
    return Sequences(steps, np.arange(1, len(pixels) + 1) * (len(steps) // len(pixels)))


@functools.cache
def _small() -> tuple[np.ndarray, np.ndarray]:
    """Return scikit-learn's images, from 0 to 1, and their digits."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    return (np.asarray(pixels) / MOST["small"]).astype(np.float32).reshape(-1, 8, 8), np.asarray(labels, dtype=np.int64)


def _without_test(labels: np.ndarray, validation: float, total: int) -> dict[Split, np.ndarray]:
    """Return the splits of images whose last ones are for the test."""
    if not 0 < validation < 1:
        raise ValueError(f"`validation` must be > 0 and < 1, got {validation}")
    # What would be the test is dealt out as well, and belongs to the training.
    dealt = dealt_out(labels, validation, (1 - validation) / 2)
    train = np.sort(np.concatenate((dealt["train"], dealt["test"])))
    return {"train": train, "validation": dealt["validation"], "test": np.arange(len(labels), total)}


def _mnist(folder: Path) -> tuple[np.ndarray, np.ndarray, int]:
    """Return all images, from 0 to 1, their digits, and how many of the last ones are for the test."""
    if _found(folder, IDX_FILES["train"][0]) is None:
        # The folder may be somebody else's: a record that is replayed names that of its author.
        own = data_folder() / "mnist"
        if _found(own, IDX_FILES["train"][0]) is None:
            _fetch(folder, own)
        folder = own
    parts = [(_read_idx(folder, images, 3), _read_idx(folder, labels, 1)) for images, labels in IDX_FILES.values()]
    for images, labels in parts:
        if len(images) != len(labels):
            raise ValueError(f"`folder` must have as many labels as images, got {len(labels)} and {len(images)}")
        if labels.max() > 9:
            raise ValueError(f"`folder` must have labels from 0 to 9, got {labels.max()}")
    if len({images.shape[1:] for images, _ in parts}) > 1 or parts[0][0].shape[1] != parts[0][0].shape[2]:
        raise ValueError("`folder` must have square images of one size")
    pixels = np.concatenate([images for images, _ in parts])
    digits = np.concatenate([labels for _, labels in parts])
    return (pixels / MOST["mnist"]).astype(np.float32), digits.astype(np.int64), len(parts[1][0])


def _fetch(folder: Path, own: Path) -> None:
    """Let torchvision fetch the files that are not in a folder into one of ours.

    Raises:
        ValueError: It is not installed, or cannot.
    """
    first = IDX_FILES["train"][0]
    wanted = f"`folder` must have {first} and the other files of MNIST, got {str(folder)!r}"
    try:
        found = importlib.import_module("torchvision.datasets")
    except ImportError:
        raise ValueError(f"{wanted}, and torchvision is not installed to fetch them") from None
    try:
        found.MNIST(str(own), download=True)
    except Exception as error:  # noqa: BLE001 - no network has many faces
        reason = " ".join(str(error).split())[:80]
        raise ValueError(f"{wanted}, and they cannot be fetched ({reason})") from None


def _found(folder: Path, name: str) -> Path | None:
    """Return the path of one of the files in a folder or below it, packed or not."""
    return next((path for end in ("", ".gz") for path in sorted(folder.rglob(f"{name}{end}")) if path.is_file()), None)


def _read_idx(folder: Path, name: str, dimensions: int) -> np.ndarray:
    """Read one of the IDX files of a folder.

    Raises:
        ValueError: It is missing, or something else.
    """
    path = _found(folder, name)
    if path is None:
        raise ValueError(f"`folder` must have the IDX files of MNIST, got {str(folder)!r}, which lacks {name}")
    return _of_idx(path, dimensions, "folder")


def _of_idx(path: Path, dimensions: int, argument: str) -> np.ndarray:
    """Read an IDX file of bytes: two zeros, the type 8, the number of dimensions, their sizes, and the numbers.

    Raises:
        ValueError: It is something else; the message names the argument that has named it.
    """
    where = f"`{argument}` must {'be' if argument == 'file' else 'have'} an IDX file"
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{where} that can be read, got {path.name!r} ({error})") from None
    head = 4 + 4 * dimensions
    sizes = tuple(int.from_bytes(content[at : at + 4], "big") for at in range(4, head, 4))
    if content[:4] != bytes((0, 0, 8, dimensions)) or len(content) != head + math.prod(sizes) or not all(sizes):
        raise ValueError(f"{where} of {dimensions} dimensions, got {path.name!r}, which is no such")
    return np.frombuffer(content, dtype=np.uint8, offset=head).reshape(sizes)
