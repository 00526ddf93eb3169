"""What TensorFlow Serving answers over REST, as far as it is used: types for `hou_synth.io.documents`."""

import dataclasses
import typing

import pydantic


@dataclasses.dataclass(frozen=True)
class Status:
    """State of a version, and its error."""

    version: typing.Annotated[int, pydantic.Strict(False), pydantic.Field(ge=0, lt=2**63)]  # which is sent as a text
    state: str
    status: dict[str, object] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Statuses:
    """The states of a model."""

    model_version_status: list[Status]


@dataclasses.dataclass(frozen=True)
class Tensor:
    """An input."""

    dtype: str


@dataclasses.dataclass(frozen=True)
class Signature:
    """What a signature takes and returns; those that initialise a model have neither."""

    inputs: dict[str, Tensor] | None = None
    outputs: dict[str, object] | None = None


@dataclasses.dataclass(frozen=True)
class Signatures:
    """The signatures by their names."""

    signature_def: dict[str, Signature]


@dataclasses.dataclass(frozen=True)
class Fields:
    """The part of the metadata that is asked for."""

    signature_def: Signatures


@dataclasses.dataclass(frozen=True)
class Metadata:
    """The metadata of a version."""

    metadata: Fields


@dataclasses.dataclass(frozen=True)
class Texts:
    """The only output of a signature, texts."""

    predictions: list[str]


@dataclasses.dataclass(frozen=True)
class Failure:
    """An error."""

    error: str
