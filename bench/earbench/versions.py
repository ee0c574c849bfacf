"""Installed versions."""

import importlib.metadata
from collections.abc import Sequence


def versions(packages: Sequence[str]) -> dict[str, str]:
    """The installed version of each package; a missing one is left out.

    >>> list(versions(["no-such-package"]))
    []
    """
    found = {}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
