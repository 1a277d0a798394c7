"""Programs of their own, which begin where libraries are loaded.

Python takes a second or two to load what a program imports. A nursery loads that once, and each
program is a fork of it. Import it as ``from tests.programs import nursery``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

LONGEST = 100
"""Seconds after which a program is ended."""
FORKING = """
import json, os, signal, sys
{imports}
for line in sys.stdin:
    program = json.loads(line)
    child = os.fork()
    if not child:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        break
    signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))
    signal.alarm({longest})
    ended = os.waitpid(child, 0)[1]
    signal.alarm(0)
    print(os.waitstatus_to_exitcode(ended), flush=True)
else:
    sys.exit()
os.chdir(program["folder"])
os.environ.update(program["environment"])
for number, name in enumerate(program["streams"]):
    file = os.open(name, os.O_RDWR | os.O_CREAT)
    os.dup2(file, number)
    os.close(file)
sys.argv[1:] = program["arguments"]
exec(compile(program["code"], program["name"], "exec"), {{"__name__": "__main__"}})
"""


class Run(Protocol):
    """Run a program to its end; `given` is its standard input."""

    def __call__(
        self,
        code: str,
        folder: Path,
        *arguments: object,
        name: str = "<string>",
        given: str = "",
        **environment: str,
    ) -> subprocess.CompletedProcess[str]: ...


@contextmanager
def nursery(imports: str) -> Iterator[Run]:
    """Load libraries, and return a function that runs programs after that, in a folder.

    Parameters
    ----------
    imports : str
        Lines of Python. They must start no thread.
    """
    script = FORKING.format(imports=imports, longest=LONGEST)
    with (
        TemporaryDirectory() as place,
        subprocess.Popen(
            [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process,
    ):
        streams = [Path(place) / stream for stream in ("input", "output", "errors")]
        assert process.stdin is not None
        assert process.stdout is not None
        requests, replies = process.stdin, process.stdout

        def run(
            code: str,
            folder: Path,
            *arguments: object,
            name: str = "<string>",
            given: str = "",
            **environment: str,
        ) -> subprocess.CompletedProcess[str]:
            program = {
                "code": code,
                "name": name,
                "folder": str(folder),
                "arguments": [str(argument) for argument in arguments],
                "environment": os.environ | environment,
                "streams": [str(path) for path in streams],
            }
            for path, text in zip(streams, (given, "", ""), strict=True):
                path.write_text(text, "utf-8")
            requests.write(json.dumps(program) + "\n")
            requests.flush()
            code_of_exit = int(replies.readline())
            texts = [path.read_text("utf-8") for path in streams[1:]]
            return subprocess.CompletedProcess(program["arguments"], code_of_exit, *texts)

        yield run


def printed_by_script(script: str, folder: Path, **environment: str) -> str:
    """Run a script of its own file, as processes that begin anew need it; return what it prints."""
    path = folder / "script.py"
    path.write_text(script, "utf-8")
    done = subprocess.run(
        [sys.executable, str(path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=LONGEST,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
