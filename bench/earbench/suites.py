"""Which tasks a command is about: names, suites (`@superb`) and `all` written out."""

from collections.abc import Mapping, Sequence

from earbench import registry
from earbench.config import Settings
from earbench.contract import TaskCard
from earbench.demo import build as demo
from earbench.errors import UnknownName
from earbench.progress import Progress


def asked(names: Sequence[str], where: str | None, settings: Settings, progress: Progress) -> list[str]:
    """The tasks that `names` stand for, each once, in order.

    On the demo corpus (`where` is what --data says) suites are without the tasks that it has nothing for: these are
    named, and a suite is what can be run of it.
    """
    wanted = expand(names, settings.suites)
    absent = [name for name in wanted if name not in names and not _runs(name, where, settings)]
    if absent:
        progress.warn(f"the demo corpus has nothing for {len(absent)} tasks, which are left out: {', '.join(absent)}")
    return [name for name in wanted if name not in absent]


def expand(names: Sequence[str], suites: Mapping[str, Sequence[str]]) -> list[str]:
    """Task names with suites (`@superb`) and `all` written out, each once, in order.

    All are those of a published corpus; a task on somebody's own audio has to be told where that lies.

    >>> expand(["ks", "@demo"], {"demo": ["ks", "asr"]})
    ['ks', 'asr']
    """
    found: list[str] = []
    for name in names:
        if name == "all":
            found += [task for task in registry.names("task") if registry.load("task", task).card.corpus.page]
        elif name.startswith("@"):
            if name[1:] not in suites:
                raise UnknownName(f"no suite called '{name}'", f"known: {', '.join('@' + suite for suite in suites)}")
            found += suites[name[1:]]
        else:
            found.append(name)
    return list(dict.fromkeys(found))


def _runs(name: str, where: str | None, settings: Settings) -> bool:
    card: TaskCard = registry.load("task", registry.split_task(name)[0]).card
    if (where or settings.data.get(card.corpus.id)) != "demo":
        return True
    return demo.holds(card.corpus.id, card.name)
