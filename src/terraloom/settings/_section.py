"""What every table of the settings file is."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A table of the settings file: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
