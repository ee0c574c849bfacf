"""earbench: how good are an audio encoder's representations, on what, and is it really better than the others?

>>> import earbench
>>> record = earbench.run(upstream="fbank", task="ks", data="demo")   # doctest: +SKIP
>>> record.scores["accuracy"].value                                   # doctest: +SKIP
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["hear_api", "records", "run", "upstream"]

if TYPE_CHECKING:
    from earbench.api import hear_api, records, run, upstream


def __getattr__(name: str) -> Any:
    """The doors of the library; torch is imported only when one is opened."""
    if name not in __all__:
        raise AttributeError(f"module 'earbench' has no attribute '{name}'")
    from earbench import api

    return getattr(api, name)
