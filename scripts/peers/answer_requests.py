"""Answers the requests that a script of this folder receives on standard input, one JSON object per line."""

import contextlib
import json
import sys
import traceback
from collections.abc import Callable


def answer_requests(answer: Callable[[dict], dict]) -> None:
    """
    Calls `answer` with each request, and prints the result as one line of JSON. If `answer` raises an
    exception, the line is {"error": the traceback of the exception} instead, and the next request is read.
    """
    # The libraries print progress bars and remarks. These go to standard error, so that only answers are on
    # standard output.
    answers = sys.stdout
    for line in sys.stdin:
        with contextlib.redirect_stdout(sys.stderr):
            try:
                result = answer(json.loads(line))
            except Exception:
                result = {"error": traceback.format_exc()}
        print(json.dumps(result), file=answers, flush=True)
