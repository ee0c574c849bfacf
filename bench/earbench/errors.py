"""What goes wrong, told to the person who asked: what was asked, what was found, what to do."""


class BenchError(Exception):
    """A run could not be done. `hint` says what to do next; the exit code is 1."""

    exit_code = 1

    def __init__(self, message: str, *hints: str) -> None:
        super().__init__(message)
        self.hints = hints

    def __str__(self) -> str:
        return "\n  ".join((super().__str__(), *self.hints))


class RequestError(BenchError):
    """The request itself was wrong: an unknown name, an impossible option. The exit code is 2."""

    exit_code = 2


class UnknownName(RequestError):
    """No plugin, suite or board has this name."""


class MissingCorpus(RequestError):
    """The audio a task needs is not where it was looked for, or not whole."""


class BadAudio(BenchError):
    """Some clips cannot be used; the message lists all of them."""


class BadFeatures(BenchError):
    """Features that were computed elsewhere and cannot be used."""


class BadCheckpoint(BenchError):
    """Weights that do not fit, are not there, or would run code when loaded."""


class MissingWeights(BadCheckpoint):
    """Weights that are not here: they have to be fetched by hand, or the hub cannot be reached."""


class MissingExtra(RequestError):
    """An optional package is absent; the message carries the line that installs it."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package '{package}', which is not installed",
            f"pip install 'earbench[{extra}]'",
        )
