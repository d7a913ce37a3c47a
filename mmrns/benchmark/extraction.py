"""What features cost: our extraction beside a plain loop over the same encoders."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from mmrns.benchmark.alternation import Phases, Side, mark
from mmrns.benchmark.comparison import Comparison
from mmrns.features.decoding import PictureError, read_picture
from mmrns.features.images import ImageEncoder
from mmrns.features.options import ExtractOptions
from mmrns.features.precision import autocast
from mmrns.features.spans import spans
from mmrns.features.texts import TextEncoder
from mmrns.graph.dataset import Dataset, load_dataset
from mmrns.graph.vocabulary import Vocabulary
from mmrns.processes import device_of

_PLAIN_TEXTS = 32  # what sentence-transformers encodes at once where nothing is said
_TOLERANCE = 0.02  # of features that are stored in half precision, against the largest of them


@dataclass(frozen=True)
class Extraction(Side):
    """Features of some entities of a dataset, as `mmrns extract` makes them up to the file.

    Attributes:
        dataset: name or folder.
        options: of the extraction.
        entities: how many of the dataset's, evenly spread.
    """

    dataset: str
    options: ExtractOptions
    entities: int

    def load(self) -> Dataset:
        """The chosen entities and their records, without triples."""
        whole = load_dataset(self.dataset)
        rows = np.linspace(0, len(whole.entities) - 1, min(self.entities, len(whole.entities))).astype(int)
        chosen = Vocabulary("entity", [whole.entities.ids[row] for row in rows])
        return replace(whole, entities=chosen, train=whole.train[:0], valid=whole.valid[:0], test=whole.test[:0])

    @abstractmethod
    def encoder(self) -> Any:
        """The encoder, with its weights."""

    @staticmethod
    @abstractmethod
    def network(encoder: Any) -> tuple[torch.nn.Module, str]:
        """The network within it, and the name of the method that is its forward pass."""

    def encode(self, encoder: Any) -> np.ndarray:
        """Features (E, n, D) fp16."""
        found = list(encoder.encode(spans(0, len(self.rows(encoder)), self.options.span)))
        return np.concatenate([part.values for part in found])

    @staticmethod
    @abstractmethod
    def rows(encoder: Any) -> list[list[str]]:
        """Files or texts of each entity."""

    @property
    def work(self) -> int:
        """Pictures or texts."""
        return int(self.encoder().total)

    def prepare(self) -> Callable[[], Phases]:
        """Load weights and texts; the network's own time is one phase, all else the other."""
        encoder = self.encoder()
        network, method = self.network(encoder)
        forward, inside = getattr(network, method), [0.0]

        def timed(*given: Any, **named: Any) -> Any:
            started = mark()
            result = forward(*given, **named)
            inside[0] += mark() - started
            return result

        setattr(network, method, timed)

        def run() -> Phases:
            inside[0], started = 0.0, mark()
            self.encode(encoder)
            return {"encoder": inside[0], "rest": mark() - started - inside[0]}

        return run

    def features(self) -> np.ndarray:
        """What comes out: (E, n, D) fp16."""
        return self.encode(self.encoder())


class Pictures(Extraction):
    """Pictures: worker processes decode while the encoder works on batches."""

    def encoder(self) -> ImageEncoder:
        """timm's model."""
        return ImageEncoder(self.load(), self.options, device_of(self.options.device))

    @staticmethod
    def network(encoder: ImageEncoder) -> tuple[torch.nn.Module, str]:
        """What timm calls features."""
        return encoder.backbone.model, "forward_features"

    @staticmethod
    def rows(encoder: ImageEncoder) -> list[list[str]]:
        """Files."""
        return encoder.files


class PlainPictures(Pictures):
    """One picture at a time: open, resize, encode, pool."""

    def encode(self, encoder: ImageEncoder) -> np.ndarray:
        """The same features by a loop."""
        features = np.zeros((len(encoder.files), encoder.tokens, encoder.width), dtype=np.float16)
        for row, files in enumerate(encoder.files):
            found: list[np.ndarray] = []
            for file in files:
                try:
                    pixels = encoder.backbone.transform(read_picture(encoder.folder, file))
                except PictureError:
                    continue
                tokens = encoder.encode_batch([file], torch.as_tensor(pixels)[None], {})[file]
                if not isinstance(tokens, str):
                    found.append(tokens)
            if found:
                features[row] = np.mean(found, axis=0)
        return features


class Texts(Extraction):
    """Texts: batches of like length, up to a number of tokens."""

    def encoder(self) -> TextEncoder:
        """The sentence-transformers model."""
        return TextEncoder(self.load(), self.options, device_of(self.options.device))

    @staticmethod
    def network(encoder: TextEncoder) -> tuple[torch.nn.Module, str]:
        """All of its modules."""
        return encoder.model, "forward"

    @staticmethod
    def rows(encoder: TextEncoder) -> list[list[str]]:
        """Texts."""
        return encoder.texts


class PlainTexts(Texts):
    """Texts in the order given, a fixed number at a time."""

    def encode(self, encoder: TextEncoder) -> np.ndarray:
        """The same features by a loop."""
        features = np.zeros((len(encoder.texts), encoder.tokens, encoder.width), dtype=np.float16)
        given = [(row, at, text) for row, texts in enumerate(encoder.texts) for at, text in enumerate(texts)]
        for start in range(0, len(given), _PLAIN_TEXTS):
            batch = given[start : start + _PLAIN_TEXTS]
            with autocast(encoder.device, encoder.precision):
                vectors = encoder.model.encode([text for _, _, text in batch], show_progress_bar=False)
            for (row, at, _), vector in zip(batch, vectors, strict=True):
                features[row, at] = vector
        return features


def extraction_comparisons(dataset: str, options: ExtractOptions, entities: int) -> list[Comparison]:
    """Pictures and texts, each against its plain loop, whose features must be equal but for rounding."""
    given = dataset, options, entities
    pairs: dict[str, tuple[Extraction, Extraction]] = {
        f"Pictures, {options.image_encoder}, {options.decoders} decoders": (Pictures(*given), PlainPictures(*given)),
        f"Texts, {options.text_encoder}": (Texts(*given), PlainTexts(*given)),
    }
    return [
        Comparison(
            title,
            "images" if isinstance(ours, Pictures) else "texts",
            {"extract": ours, "plain loop": plain},
            ("extract", "plain loop"),
            ("CPU time and memory of the processes that decode are not counted",) if isinstance(ours, Pictures) else (),
            check=partial(equal_features, ours, plain),
        )
        for title, (ours, plain) in pairs.items()
    ]


def equal_features(ours: Extraction, plain: Extraction) -> str:
    """What to say of two sides that give the same features but for rounding.

    Raises:
        RuntimeError: they do not.
    """
    mine, other = (side.features().astype(np.float32) for side in (ours, plain))
    difference, largest = float(np.abs(mine - other).max()), float(np.abs(other).max())
    if difference > _TOLERANCE * largest:
        raise RuntimeError(f"features differ by up to {difference:g} (largest: {largest:g}); not the same work")
    return f"features differ by at most {difference:.2g}; the largest is {largest:.3g}"
