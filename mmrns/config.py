"""The configuration of a run: the options of `mmrns.options`, checked one by one and together."""

import json
from pathlib import Path
from typing import Any, cast

from pydantic import field_validator, model_validator
from pydantic.fields import FieldInfo

from mmrns.options import TrainOptions


class Config(TrainOptions):
    """A run's options. Refuses unknown names, wrong types, and options that do not go together."""

    @field_validator("*", mode="before")
    @classmethod
    def _no_bool_for_a_number(cls, value: Any, info: Any) -> Any:
        if isinstance(value, bool) and cls.model_fields[info.field_name].annotation is not bool:
            raise ValueError("needs a number or text, not true/false")
        return value

    @field_validator("model_options", "sampler_options", "encoder_options", mode="before")
    @classmethod
    def _from_json(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except ValueError as error:
            raise ValueError(f"needs a JSON object such as '{{\"p\": 2}}' ({error})") from None

    @field_validator("modalities")
    @classmethod
    def _known_modalities(cls, value: str) -> str:
        names = [name.strip() for name in value.split(",") if name.strip()]
        unknown = [name for name in names if name not in ("image", "text", "structure", "score")]
        if unknown or not names or len(set(names)) < len(names):
            raise ValueError("write some of image, text, structure, score, comma-separated, each once")
        return ",".join(names)

    @model_validator(mode="before")
    @classmethod
    def _protocol(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("protocol") == "published":
            return {"selection": "last", "validation": "published"} | values
        return values

    @model_validator(mode="after")
    def _fits(self) -> "Config":
        if self.protocol == "published" and (self.selection, self.validation) != ("last", "published"):
            raise ValueError(
                f"--protocol published: goes with --selection last and --validation published, not with "
                f"{self.selection} and {self.validation}; drop one of them"
            )
        if self.selection == "last" and self.patience:
            raise ValueError(
                f"--patience {self.patience}: stops where valid says so, which is a selection; drop it, or give "
                "--selection best"
            )
        if self.objective == "sampled":
            for name in ("label_smoothing", "sampled_weight", "relation_prediction"):
                if getattr(self, name):
                    raise ValueError(
                        f"{flag(name)} {getattr(self, name):g}: belongs to --objective 1vsall and kvsall; drop it, or "
                        "give one of these"
                    )
        if self.sparse == "always" and self.objective != "sampled":
            raise ValueError(
                f"--sparse always: --objective {self.objective} uses every row at every step; drop it, or use sampled"
            )
        if self.samples and self.sampler == "mmrns" and 0 < self.pool_size < self.pool_negatives:
            raise ValueError(
                f"--num-negatives {self.pool_negatives} is larger than --pool-size {self.pool_size}: "
                "draw fewer negatives or enlarge the pool"
            )
        return self

    @property
    def samples(self) -> bool:
        """Whether a negative sampler takes part in training."""
        return self.objective == "sampled" or self.sampled_weight > 0

    @property
    def pool_negatives(self) -> int:
        """Negatives of a triple that MMRNS draws from its pool; --uniform-share of them all come from elsewhere."""
        return self.num_negatives - round(self.uniform_share * self.num_negatives)

    @property
    def negatives(self) -> str:
        """Where negatives come from, as runs are named by it: the sampler, the objective, or both."""
        if self.objective == "sampled":
            return self.sampler
        return f"{self.objective}-{self.sampler}" if self.samples else self.objective

    @property
    def run_folder(self) -> Path:
        """Where this run is kept."""
        if self.output:
            return Path(self.output)
        named = (part.replace(":", ".") for part in (self.model, self.negatives, str(self.seed)))
        return Path("checkpoints") / "-".join([Path(self.dataset).resolve().name, *named])


def options_by_section() -> dict[str, dict[str, FieldInfo]]:
    """Every option by name, grouped as --help and docs/options.md show them."""
    sections: dict[str, dict[str, FieldInfo]] = {}
    for name, option in Config.model_fields.items():
        extra = cast("dict[str, str]", option.json_schema_extra)
        sections.setdefault(extra["section"], {})[name] = option
    return sections


def flag(name: str) -> str:
    """The command-line flag of a field."""
    return "--" + name.replace("_", "-")
