"""What every part of results.json is made of."""

from typing import Annotated

from annotated_types import Ge, Gt, Le
from pydantic import BaseModel, ConfigDict

Count = Annotated[int, Ge(0)]
Positive = Annotated[int, Gt(0)]
Amount = Annotated[float, Ge(0)]
Fraction = Annotated[float, Ge(0), Le(1)]


class Record(BaseModel):
    """A part that is read back as it was written. Units are in the names; None is "not known here", never zero.

    The docstring below a field is its description in the schema and in docs/results.md.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
