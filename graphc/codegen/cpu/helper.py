"""What a compile helper runs: ``python -m graphc.codegen.cpu.helper``.

It says that it is ready, then compiles one request after another: a line of JSON on its standard input (``source``,
``filename``, ``function``, ``signature``, ``export``), answered by a line with the number of bytes of the object code
and these bytes; by ``-1`` where the source does not compile, which the asking process will find out itself.  When its
input ends, because there is nothing left to do or because the asking process died, it ends.
"""

from __future__ import annotations

import json
import os
import signal
import sys

from graphc.codegen.cpu.helpers import READY
from graphc.errors import CompileError


def main() -> None:
    """Serve requests until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to every process of a terminal; the asking one decides
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever prints must not disturb the answers
    from graphc.codegen.cpu import object_code

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


if __name__ == "__main__":
    main()
