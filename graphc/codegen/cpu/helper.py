"""What a compile helper runs: ``python helper.py``, this file.

It says that it is ready, then compiles one request after another: a line of JSON on its standard input (``source``,
``filename``, ``function``, ``signature``, ``export``), answered by a line with the number of bytes of the object code
and these bytes; by ``-1`` where the source does not compile, which the asking process will find out itself.  When its
input ends, because there is nothing left to do or because the asking process died, it ends.

What counts is how soon it is ready.  It needs the code generator alone, so it imports that as part of a bare package
``graphc``, without the modules that the package imports for its users, and leaves garbage collection out: modules
stay.  It ends without taking the interpreter down, for the asking process waits until it is gone.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from pathlib import Path
from types import ModuleType

READY = b"ready\n"
"""What a helper says first; :mod:`graphc.codegen.cpu.helpers` waits for it."""


_LEFT_OUT = ("scipy", "yaml")
"""What Numba imports if it is there: to look at its version, and to read settings that do not touch kernels."""


def main() -> None:
    """Serve requests until there are no more."""
    import json  # not for the process that asks for this file's name

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to every process of a terminal; the asking one decides
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever prints must not disturb the answers
    sys.modules.update(dict.fromkeys(_LEFT_OUT))  # type: ignore[arg-type]  # None: not to be found
    from graphc.codegen.cpu import object_code
    from graphc.errors import CompileError

    try:
        answers.write(READY)
        answers.flush()
        for line in sys.stdin.buffer:
            try:
                code = object_code.compile_source(**json.loads(line))
                answers.write(b"%d\n%s" % (len(code), code))
            except CompileError:
                answers.write(b"-1\n")
            answers.flush()
    except BrokenPipeError:  # the asking process died meanwhile
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    gc.disable()
    package = ModuleType("graphc")
    package.__path__ = [str(Path(__file__).resolve().parents[2])]
    sys.modules[package.__name__] = package
    main()
