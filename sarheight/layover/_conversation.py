"""Parts of a scene and the whole of it: what each part is asked, and what all are told.

Some numbers belong to a whole scene: its backscatter law, how far neighbours differ, the factor
that balances its energy. The work on a part of it is therefore written as a generator. Where it
needs such a number it yields a question about its part; the answers of all parts are put together
and sent back to each. A scene in memory is one part, which is told what it has just said.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["Answer", "Conversation", "Question", "alone", "ask", "combined", "conclude"]

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Answer:
    """What a part says, or all parts together.

    Attributes
    ----------
    sums : array
        Numbers that are added over the parts.
    samples : tuple of arrays, each of shape (..., n)
        Values of cells drawn from the part, which are strung together along the last axis.
    """

    sums: NDArray[np.float64]
    samples: tuple[NDArray[Any], ...] = ()


Question = Callable[[], Answer]
Conversation = Generator[Question, Answer, Result]


def combined(answers: Sequence[Answer]) -> Answer:
    """Put the answers of all parts together, in the order of the parts."""
    if len(answers) == 1:
        return answers[0]
    samples = zip(*(answer.samples for answer in answers), strict=True)
    return Answer(
        np.sum([answer.sums for answer in answers], axis=0),
        tuple(np.concatenate(each, axis=-1) for each in samples),
    )


def alone(conversation: Conversation[Result]) -> Result:
    """Hold the conversation of a part that is the whole."""
    try:
        question = next(conversation)
        while True:
            question = conversation.send(question())
    except StopIteration as end:
        result: Result = end.value
        return result


def ask(conversation: Conversation[Any], told: Sequence[Answer]) -> Answer | None:
    """Ask a part the question that follows what it has been told; None if there is no more."""
    try:
        question = next(conversation)
        for answer in told:
            question = conversation.send(answer)
    except StopIteration:
        return None
    answer = question()
    conversation.close()
    return answer


def conclude(conversation: Conversation[Result], told: Sequence[Answer]) -> Result:
    """Tell a part all there is to know, and take its result.

    Raises
    ------
    RuntimeError
        If it asks for more.
    """
    try:
        next(conversation)
        for answer in told:
            conversation.send(answer)
    except StopIteration as end:
        result: Result = end.value
        return result
    msg = "found a part of a scene that asks for more than was found out: report this, please"
    raise RuntimeError(msg)
