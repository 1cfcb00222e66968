"""Running the command within a test, and what it must look like where it refuses."""

import dataclasses

from jaxinterp.cli import main


@dataclasses.dataclass
class Ended:
    """How the command ended: exit code, and what it printed."""

    code: int
    out: str
    err: str


def runner(capfd, *first):
    """A function that runs the command with `first` and its arguments."""

    def run(*arguments):
        code = 0
        try:
            main([str(argument) for argument in (*first, *arguments)])
        except SystemExit as ending:
            code = ending.code
        return Ended(code, *capfd.readouterr())

    return run


def refused(ended, *words):
    """Checks that the command ended with code 2 and one sentence on the error stream."""
    assert ended.code == 2, ended
    assert ended.out == ""
    assert "Traceback" not in ended.err
    assert ended.err.startswith("jaxinterp: ")
    assert ended.err.count("\n") == 1
    for word in words:
        assert word in ended.err
