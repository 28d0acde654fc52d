"""The version, in its one place: pyproject.toml, the package and the documentation read it here."""

__version__ = "0.2.0"
