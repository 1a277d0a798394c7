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


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked of each part, and what follows for the whole.

    Attributes
    ----------
    part : callable
        Returns the answer of a part.
    whole : callable
        Turns the answers of all parts, put together, into what all parts are told.
    last : bool
        Whether no other question follows.
    """

    part: Callable[[], Answer]
    whole: Callable[[Answer], Any]
    last: bool = False


Conversation = Generator[Question, Any, Result]


def combined(answers: Sequence[Answer]) -> Answer:
    """Put the answers of all parts together, in the order of the parts."""
    samples = zip(*(answer.samples for answer in answers), strict=True)
    return Answer(
        np.sum([answer.sums for answer in answers], axis=0),
        tuple(np.concatenate(each, axis=-1) for each in samples),
    )


def alone(conversation: Conversation[Result]) -> tuple[Result, list[Any]]:
    """Hold the conversation of a part that is the whole; return what it was told, too."""
    told: list[Any] = []
    try:
        question = next(conversation)
        while True:
            told.append(question.whole(question.part()))
            question = conversation.send(told[-1])
    except StopIteration as end:
        return end.value, told


def ask(
    conversation: Conversation[Any], told: Sequence[Any]
) -> tuple[Answer, Callable[[Answer], Any], bool]:
    """Ask a part the question that follows what it has been told.

    Returns
    -------
    answer : Answer
        What the part says.
    whole : callable
        Turns the answers of all parts into what they are told.
    last : bool
        Whether no other question follows.
    """
    question = next(conversation)
    for each in told:
        question = conversation.send(each)
    answer = question.part()
    conversation.close()
    return answer, question.whole, question.last


def conclude(conversation: Conversation[Result], told: Sequence[Any]) -> Result:
    """Tell a part all there is to know, and take its result.

    Raises
    ------
    RuntimeError
        If it asks for more.
    """
    try:
        next(conversation)
        for each in told:
            conversation.send(each)
    except StopIteration as end:
        result: Result = end.value
        return result
    msg = "found a part of a scene that asks for more than was found out: report this, please"
    raise RuntimeError(msg)
