"""Saving a network with all that is needed to use it, and making it again."""

from __future__ import annotations

import json
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from sarheight.errors import CheckpointError, OutputError
from sarheight.output._atomic import staged

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

__all__ = ["Pretrained", "kind_of"]

WEIGHTS, CONFIGURATION = "model.safetensors", "config.json"
FORMAT = 1


class Pretrained(nn.Module):
    """A network that is saved as a folder: weights in safetensors, all else in JSON.

    A subclass names itself by `kind` and returns from `configuration` the arguments that make it
    again. No code is ever loaded from a checkpoint.
    """

    kind: ClassVar[str]

    @abstractmethod
    def configuration(self) -> dict[str, Any]:
        """Return the arguments that make this network again, in JSON's types."""

    @classmethod
    def from_configuration(cls, configuration: Mapping[str, Any]) -> Self:
        """Make the network that `configuration` describes, with random weights."""
        return cls(**configuration)

    def save_pretrained(
        self,
        folder: str | os.PathLike[str],
        *,
        card: Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Write the network to a folder.

        Parameters
        ----------
        folder : path-like
            Gets ``model.safetensors`` and ``config.json``.
        card : mapping, optional
            More to tell about the model, such as data, licence and figures; in JSON's types.
        overwrite : bool
            Whether a folder that is already there may be replaced.

        Returns
        -------
        pathlib.Path
            The folder.

        Raises
        ------
        OutputError
            When the place is not fit for it or writing failed; nothing is left half-written.
        """
        folder = Path(folder)
        described = {
            "format": FORMAT,
            "kind": self.kind,
            "configuration": self.configuration(),
            "card": dict(card or {}),
        }
        if folder.suffix:
            msg = f"a model is saved as a folder without a suffix, and this is '{folder}'"
            raise OutputError(msg)
        with staged(folder, overwrite=overwrite, suffixes=("",)) as work:
            work.mkdir()
            weights = {name: value.contiguous() for name, value in self.state_dict().items()}
            # What safetensors writes itself, its owner alone may read.
            (work / WEIGHTS).write_bytes(save(weights))
            (work / CONFIGURATION).write_text(json.dumps(described, indent=2) + "\n", "utf-8")
        return folder

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str]) -> Self:
        """Make a network from a folder that `save_pretrained` has written.

        Parameters
        ----------
        folder : path-like
            The folder.

        Returns
        -------
        Pretrained
            In evaluation mode.

        Raises
        ------
        CheckpointError
            If a file is missing or damaged, the checkpoint is that of another model, or weights
            and configuration do not belong together.
        """
        folder = Path(folder)
        described = _described(folder)
        if described.get("kind") != cls.kind:
            msg = (
                f"'{folder}' holds a model of the kind {described.get('kind')!r}, expected "
                f"{cls.kind!r}: load it by its own class"
            )
            raise CheckpointError(msg)
        try:
            model = cls.from_configuration(described["configuration"])
        except (KeyError, TypeError, ValueError) as error:
            msg = f"the configuration in '{folder}' makes no {cls.kind} ({error})"
            raise CheckpointError(msg) from error
        try:
            model.load_state_dict(load_file(folder / WEIGHTS), strict=True)
        except (OSError, SafetensorError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            msg = f"the weights in '{folder}' do not fit its configuration ({reason})"
            raise CheckpointError(msg) from error
        return model.eval()


def kind_of(folder: str | os.PathLike[str]) -> str:
    """Tell what kind of network a folder holds.

    Parameters
    ----------
    folder : path-like
        As `Pretrained.save_pretrained` has written it.

    Returns
    -------
    str
        The `kind` of its class, such as "terrain heights".

    Raises
    ------
    CheckpointError
        If it is no such folder.
    """
    return str(_described(Path(folder)).get("kind"))


def _described(folder: Path) -> dict[str, Any]:
    try:
        described = json.loads((folder / CONFIGURATION).read_text("utf-8"))
    except (OSError, ValueError) as error:
        msg = (
            f"'{folder}' holds no readable {CONFIGURATION} ({error}); expected a folder written by "
            "save_pretrained"
        )
        raise CheckpointError(msg) from error
    if not isinstance(described, dict) or described.get("format") != FORMAT:
        found = described.get("format") if isinstance(described, dict) else type(described).__name__
        msg = f"'{folder}' has the format {found!r}, expected {FORMAT}: another version wrote it"
        raise CheckpointError(msg)
    return described
