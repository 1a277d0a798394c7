"""Fixtures that commands are given."""

from tests.cli.conftest import files

__all__ = ["files"]
