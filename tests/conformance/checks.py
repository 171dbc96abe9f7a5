"""How a check is named, run and printed."""

import json


def check(name):
    """Runs a function as a named check; it returns a sentence, or raises. Prints one JSON line."""

    def decorate(function):
        try:
            result = {"name": name, "status": "passed", "detail": function()}
        except Exception as error:  # one check's failure must not hide the others'
            result = {"name": name, "status": "failed", "detail": f"{type(error).__name__}: {error}"}
        print(json.dumps(result), flush=True)

    return decorate


def require(holds, what):
    if not holds:
        raise AssertionError(what)
