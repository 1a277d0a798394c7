"""Networks on disk: weights, configuration, device."""

from __future__ import annotations

import json
from abc import abstractmethod
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from sarheight._files import file_errors, read_json, reason
from sarheight.errors import CheckpointError, OutputError
from sarheight.output.atomic import atomic_write

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

# Networks as folders.

WEIGHTS, CONFIGURATION = "model.safetensors", "config.json"
FORMAT = 1
LARGEST_NUMBER = 4096
"""Largest whole number in a configuration: channels, levels, or pixels along a patch. Larger ones
would take the memory of a machine, or hours, before the weights are found not to fit."""


class Pretrained(nn.Module):
    """A network that is saved as a folder: weights in safetensors, all else in JSON.

    A subclass defines its `kind`, and `configuration`, the arguments of its constructor. No code
    is ever loaded from a checkpoint.
    """

    kind: ClassVar[str]

    @abstractmethod
    def configuration(self) -> dict[str, Any]:
        """Return the arguments of the constructor, in JSON's types."""

    @classmethod
    def from_configuration(cls, configuration: Mapping[str, Any]) -> Self:
        """Construct the network that `configuration` describes, with random weights."""
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
            Target of ``model.safetensors`` and ``config.json``.
        card : mapping, optional
            Further information on the model: data, licence, figures; in JSON's types.
        overwrite : bool
            Whether an existing folder may be replaced.

        Returns
        -------
        pathlib.Path
            The folder.

        Raises
        ------
        OutputError
            If the folder cannot be written; nothing is left half-written.
        CheckpointError
            If a weight is NaN or infinite, as after a training that diverged.
        """
        folder = Path(folder)
        _require_finite(self.state_dict(), "the network: its training diverged; lower the rate")
        # A file written by safetensors itself is readable by its owner only.
        weights = save({name: value.contiguous() for name, value in self.state_dict().items()})
        described = {
            "format": FORMAT,
            "kind": self.kind,
            "configuration": self.configuration(),
            "card": dict(card or {}),
            "sha256": sha256(weights).hexdigest(),
        }
        if folder.suffix:
            msg = f"a model is saved as a folder without a suffix, and this is '{folder}'"
            raise OutputError(msg)
        with atomic_write(folder, overwrite=overwrite, suffixes=("",)) as work:
            work.mkdir()
            (work / WEIGHTS).write_bytes(weights)
            (work / CONFIGURATION).write_text(json.dumps(described, indent=2) + "\n", "utf-8")
        return folder

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str]) -> Self:
        """Load a network from a folder that `save_pretrained` has written.

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
            If a file is missing or damaged, the checkpoint is that of another model, a weight is
            NaN or infinite, or weights and configuration do not belong together.
        """
        folder = Path(folder)
        described = _described(folder)
        if described.get("kind") != cls.kind:
            msg = (
                f"'{folder}' holds a model of the kind {described.get('kind')!r}, expected "
                f"{cls.kind!r}: load it by its own class"
            )
            raise CheckpointError(msg)
        weights = _weights(folder, described)
        _require_finite(weights, f"'{folder}': the model cannot be used; copy or train it again")
        # Configurations are data of the user: any value may be of any kind.
        try:
            configuration = described["configuration"]
            _require_moderate(configuration)
            return cls.from_weights(configuration, weights).eval()
        except RuntimeError as error:
            msg = f"the weights in '{folder}' do not fit its configuration ({reason(error)})"
            raise CheckpointError(msg) from error
        except Exception as error:
            found = reason(error)
            msg = f"the configuration in '{folder}' is not valid for {cls.kind} ({found})"
            raise CheckpointError(msg) from error

    @classmethod
    def from_weights(cls, configuration: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Self:
        """Construct the network that `configuration` describes, with given weights.

        Raises RuntimeError where the weights are not those of the network.
        """
        with torch.device("meta"):  # without memory
            planned = cls.from_configuration(configuration).state_dict()
        needed = sum(value.numel() for value in planned.values())
        stored = sum(value.numel() for value in weights.values())
        if needed > stored:
            msg = f"it describes {needed} numbers, {WEIGHTS} holds {stored}"
            raise RuntimeError(msg)
        model = cls.from_configuration(configuration)
        model.load_state_dict(weights, strict=True)
        return model


def model_kind(folder: str | os.PathLike[str]) -> str:
    """Return the kind of the network in a folder.

    Parameters
    ----------
    folder : path-like
        Written by `Pretrained.save_pretrained`.

    Returns
    -------
    str
        The `kind` of its class, such as "terrain heights".

    Raises
    ------
    CheckpointError
        If it is not such a folder.
    """
    return str(_described(Path(folder)).get("kind"))


def read_card(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what a saved network says of itself: data, licence, figures of its training.

    Raises CheckpointError if `folder` holds no network.
    """
    card = _described(Path(folder)).get("card")
    return card if isinstance(card, dict) else {}


def _require_moderate(value: Any, name: str = "configuration") -> None:  # noqa: ANN401  # of JSON
    """Raise ValueError where a whole number is too large for a network."""
    if isinstance(value, dict):
        for key, part in value.items():
            _require_moderate(part, str(key))
    elif isinstance(value, list):
        for part in value:
            _require_moderate(part, name)
    elif isinstance(value, int) and abs(value) > LARGEST_NUMBER:
        msg = f"found {name}={value}, expected {LARGEST_NUMBER} at most"
        raise ValueError(msg)


def _require_finite(weights: Mapping[str, Tensor], where: str) -> None:
    """Raise CheckpointError where a weight is NaN or infinite."""
    bad = [name for name, value in weights.items() if not bool(torch.isfinite(value).all())]
    if bad:
        msg = f"found NaN or infinity in {len(bad)} arrays such as {bad[0]!r} of {where}"
        raise CheckpointError(msg)


def _weights(folder: Path, described: Mapping[str, Any]) -> dict[str, Tensor]:
    """Read the weights of a folder, and compare them with their checksum where there is one."""
    if not (folder / WEIGHTS).is_file():
        msg = f"'{folder}' holds no {WEIGHTS}; expected a folder written by save_pretrained"
        raise CheckpointError(msg)
    with file_errors(folder / WEIGHTS, "a file of weights", CheckpointError):
        data = (folder / WEIGHTS).read_bytes()
        if described.get("sha256", found := sha256(data).hexdigest()) != found:
            msg = (
                f"the weights in '{folder}' differ from their checksum in {CONFIGURATION}: one of "
                "the two files is damaged or of another model; copy both again"
            )
            raise CheckpointError(msg)
        return load(data)


def _described(folder: Path) -> dict[str, Any]:
    try:
        described = read_json(folder / CONFIGURATION, CheckpointError)
    except OSError as error:
        msg = (
            f"'{folder}' holds no readable {CONFIGURATION} ({reason(error)}); expected a folder "
            "written by save_pretrained"
        )
        raise CheckpointError(msg) from error
    if described.get("format") != FORMAT:
        found = described.get("format")
        msg = f"'{folder}' has the format {found!r}, expected {FORMAT}: another version wrote it"
        raise CheckpointError(msg)
    return described


ROOMS = Path(__file__).parents[1]
PACKAGED = {
    "refinement": ROOMS / "terrain" / "refinement_weights",
    "buildings": ROOMS / "buildings" / "weights",
}


def packaged_model(name: str) -> Path:
    """Return the folder of a trained network of the library.

    Parameters
    ----------
    name : str
        "refinement" for terrain heights, or "buildings"; `sarheight predict` uses both.

    Returns
    -------
    pathlib.Path
        A folder for `from_pretrained`.

    Raises
    ------
    CheckpointError
        If there is no network of that name.
    """
    if name not in PACKAGED:
        msg = f"found no trained network {name!r} in the library, expected one of {[*PACKAGED]}"
        raise CheckpointError(msg)
    return PACKAGED[name]


def select_device(name: str) -> torch.device:
    """Return the device of a name; "auto" is a GPU if there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        msg = f"found device {name!r}, which is not available ({reason}): use 'cpu', or 'auto'"
        raise ValueError(msg) from error
    return device
