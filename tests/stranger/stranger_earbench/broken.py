"""An encoder whose own dependency is missing."""

import stranger_ops  # noqa: F401
