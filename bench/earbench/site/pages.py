"""The pages of the site as HTML, one after another. Everything that records say is escaped by the templates."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined

from earbench import boards as boards_
from earbench import record as records_
from earbench import registry
from earbench.boards import Board
from earbench.config import BoardPlan, Settings
from earbench.record import Record
from earbench.report import DEMO_NOTE, signature
from earbench.selection import Key
from earbench.site import charts, encoders, layer_maps, tables
from earbench.site.addresses import Addresses, Asked, asked, key
from earbench.site.tables import Table
from earbench.versions import versions

PROTOCOLS = {"superb": "https://arxiv.org/abs/2105.01051", "hear": "https://hearbenchmark.com/hear-tasks.html"}
"""Where the protocol of a suite is written."""
K = TypeVar("K", Asked, Key)
Page = tuple[str, str]
"""Its address, and its text."""


def pages(
    boards: Sequence[Board], records: Sequence[Record], settings: Settings, addresses: Addresses
) -> Iterator[Page]:
    """Every page of the site; the first is the way in. `records` may be brief: an encoder's are read for its page."""
    site = environment(addresses)
    cards = {kind: _cards(kind, settings) for kind in ("upstream", "task")}

    def table(board: Board) -> Table:
        return tables.table(board, addresses.upstreams, cards["task"])

    by_task, by_encoder = _grouped(records, asked), _grouped(records, key)
    own = {one: table(boards_.board(_plan(one, cards["task"]), by_task[one])) for one in addresses.tasks}
    lines = [_index_line(one, of, addresses) for one, of in by_encoder.items()]
    ordered = sorted(boards, key=lambda board: not board.rows)
    shown = {"boards": ordered, "lines": lines, "tasks": own, "cards": cards["task"], "count": len(records)}
    yield _page(site, "index.html", "index.html", **shown)
    for board in boards:
        yield _page(
            site, "board.html", addresses.boards[board.plan.name], **_board(table(board), addresses, cards["task"])
        )
    for task, one_task in own.items():
        yield _page(site, "task.html", addresses.tasks[task], **_task(task, one_task, cards["task"], addresses))
    for one, of in by_encoder.items():
        told = _encoder(one, of, own, list(by_encoder), cards["upstream"], addresses)
        yield _page(site, "upstream.html", addresses.upstreams[one], **told)


def environment(addresses: Addresses) -> Environment:
    """Our templates: whatever they show is escaped, and a name that nobody gave is an error."""
    site = Environment(
        loader=PackageLoader("earbench.site"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    site.globals |= {
        "addresses": addresses,
        "program": " ".join(["earbench", *versions(["earbench"]).values()]),
        "demo_note": DEMO_NOTE,
    }
    site.filters |= {"amount": tables.amount, "title_of": title_of, "web": _web}
    return site


def title_of(plan: BoardPlan) -> str:
    """A board's title; a demo board's without what it says in brackets, since its page says so in a sentence.

    >>> title_of(BoardPlan("hear-demo", "HEAR on the demo corpus (does not rank encoders)", (), "demo"))
    'HEAR on the demo corpus'
    """
    return plan.title.partition(" (")[0] if plan.corpus == "demo" else plan.title


def _page(site: Environment, template: str, path: str, **facts: Any) -> Page:
    return path, site.get_template(template).render(root="../" * path.count("/"), **facts)


def _board(table: Table, addresses: Addresses, cards: Mapping[str, Any]) -> dict[str, Any]:
    plan = table.board.plan
    tasks = {task: addresses.tasks.get((task, plan.corpus == "demo")) for task in plan.tasks}
    titles = {task: cards.get(task, {}).get("title") for task in plan.tasks}
    shown = {"table": table, "points": charts.points(table), "signature": signature(table.board)}
    return shown | {"tasks": tasks, "titles": titles}


def _task(task: Asked, table: Table, cards: Mapping[str, Any], addresses: Addresses) -> dict[str, Any]:
    card = cards.get(task[0], {})
    protocol = PROTOCOLS.get(card.get("suite", ""))
    return _board(table, addresses, cards) | {"task": task, "card": card, "protocol": protocol}


def _encoder(
    one: Key,
    brief: Sequence[Record],
    own: Mapping[Asked, Table],
    keys: Sequence[Key],
    cards: Mapping[str, Any],
    addresses: Addresses,
) -> dict[str, Any]:
    records = [records_.read(record.path) for record in brief]
    scored, weighed = layer_maps.scores_by_layer(records), layer_maps.weights_by_layer(records)
    return {
        "name": one[0],
        "facts": encoders.facts(records, cards.get(_plain_name(one[0]), {})),
        "twins": encoders.twins(one, keys),
        "is_twin": one[0].endswith(tables.TWIN),
        "scores": encoders.scores(one[0], addresses.upstreams[one], own),
        "layers": scored,
        "weights": weighed,
        "unweighed": layer_maps.without_weights(records),
        "one_layer": not (scored or weighed) and records[-1].facts["upstream"]["layers"] == 1,
        "maps": [layer_maps.plain(scored), layer_maps.plain(weighed)],
        "runs": encoders.runs(records, addresses.endings),
        "left_out": [name for ending, name in encoders.FILES.items() if ending not in addresses.endings],
    }


def _index_line(one: Key, records: Sequence[Record], addresses: Addresses) -> dict[str, Any]:
    said = records[-1].facts["upstream"]
    return {
        "name": one[0],
        "link": addresses.upstreams[one],
        "family": said["family"],
        "licence": said["licence"],
        "parameters": said["parameters"],
        "tasks": len({asked(record) for record in records}),
        "records": len(records),
    }


def _plan(task: Asked, cards: Mapping[str, Any]) -> BoardPlan:
    """The board of a single task."""
    title = cards.get(task[0], {}).get("title") or task[0]
    return BoardPlan(task[0], title, (task[0],), "demo" if task[1] else "published")


def _grouped(records: Iterable[Record], by: Callable[[Record], K]) -> dict[K, list[Record]]:
    found: dict[K, list[Record]] = {}
    for record in records:
        found.setdefault(by(record), []).append(record)
    return dict(sorted(found.items()))


def _cards(kind: registry.Kind, settings: Settings) -> dict[str, dict[str, Any]]:
    """The cards of installed plugins by name; those of others are not known here."""
    return {card["name"]: card for card in registry.cards(kind, settings.cache) if "error" not in card}


def _plain_name(name: str) -> str:
    """The plugin behind an encoder's public name.

    >>> _plain_name("hubert@best.pt~random")
    'hubert'
    """
    return name.partition(":")[0].partition("@")[0].partition("~")[0]


def _web(address: str | None) -> str | None:
    """The address if it leads to a web page and nowhere else."""
    return address if address and address.startswith(("https://", "http://")) else None
