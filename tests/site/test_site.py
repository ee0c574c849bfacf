"""The site as files: what is on which page, that all of it is escaped, linked, told to screen readers, and whole."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from made import CARD, EACH, PLANS, WEIGHTS, site
from scored import hits, store

from earbench import boards, declared
from earbench import record as records
from earbench.config import BoardPlan
from earbench.errors import MissingExtra, RequestError
from earbench.site import addresses, assets, build, charts, encoders, layer_maps, tables

WORDS = "boards/words.html"


class Page(HTMLParser):
    """The elements of a page in order, each with its attributes and the text up to the next one."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs), []))

    def handle_data(self, data):
        if self.found:
            self.found[-1][2].append(data)

    def all(self, *tags):
        return [(attributes, "".join(text).strip()) for tag, attributes, text in self.found if tag in tags]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        yield site(tmp_path_factory.mktemp("made"), patch)


@pytest.fixture(scope="module")
def pages(folder):
    return {str(path.relative_to(folder)): path.read_text("utf-8") for path in folder.rglob("*.html")}


def cells(page, name):
    """The cells of the first row whose head is `name`, as text."""
    found = re.search(rf'<th scope="row"[^>]*>(?:<a[^>]*>)?{re.escape(name)}<.*?</tr>', page, re.DOTALL)
    return [
        re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", cell)).strip()
        for cell in re.findall(r"<td.*?</td>", found[0], re.DOTALL)
    ]


def encoder(pages, name):
    return next(text for path, text in pages.items() if re.fullmatch(rf"upstreams/{name}-[0-9a-f]{{8}}\.html", path))


# ---- what is where ---------------------------------------------------------------------------------------------------


def test_there_is_a_page_for_every_board_task_and_encoder(pages):
    kinds = {path: path.partition("/")[0] for path in pages}
    assert {path for path, kind in kinds.items() if kind == "boards"} == {"boards/words.html", "boards/demo.html"}
    assert {path for path, kind in kinds.items() if kind == "tasks"} == {
        "tasks/ks.html",
        "tasks/ks-demo.html",
        "tasks/sid.html",
    }
    assert sum(kind == "upstreams" for kind in kinds.values()) == 4


def test_every_link_leads_to_a_file_of_the_site_and_every_note_is_there(folder, pages):
    for path, text in pages.items():
        page = Page(text)
        ids = {attributes["id"] for _, attributes, _ in page.found if "id" in attributes}
        links = [
            attributes.get("href") or attributes.get("src") for attributes, _ in page.all("a", "link", "script", "img")
        ]
        for link in filter(None, links):
            if link.startswith("#"):
                assert link[1:] in ids, (path, link)
            elif not link.startswith(("https:", "data:")):
                target, _, part = link.partition("#")
                file = (folder / path).parent / unquote(target)
                assert file.is_file(), (path, link)
                assert not part or f'id="{part}"' in file.read_text("utf-8"), (path, link)


def test_a_score_is_shown_with_interval_rank_and_notes(pages):
    found = cells(pages[WORDS], "learned")
    assert re.fullmatch(r"[\d.]+ best 95 % interval \[[\d.]+, [\d.]+\] rank # 1", found[1])
    assert '<li id="note-1">early-stop: training ends early</li>' in pages[WORDS]


def test_a_note_of_all_scores_stands_once_and_others_where_they_hold(folder):
    """ "common" of every score, "task" of all of sid, "name" of all of floor, "one" of a single score."""
    both, more = {"common"}, {"common", "task"}
    noted = {"learned": (both, more), "floor": (both | {"name"}, more | {"name"}), "x": (both | {"one"}, more)}
    names = sorted({name for pair in noted.values() for one in pair for name in one})
    columns = tuple(boards.Column(f"{task} accuracy", task, "accuracy", "%") for task in ("ks", "sid"))
    row = boards.board(PLANS[0], records.briefly(folder.parent / "results")).rows[0]

    def cell(column, said):
        return replace(row.cells[column.title], notes=tuple(map(names.index, sorted(said))))

    rows = [
        replace(row, upstream=name, cells={one.title: cell(one, said) for one, said in zip(columns, pair, strict=True)})
        for name, pair in noted.items()
    ]
    made = boards.Board(PLANS[0], columns, tuple(rows), tuple(names))
    found = tables.table(made, {(one.upstream, one.digest): "" for one in rows}, {})

    def said(places):
        return [names[place] for place in places]

    assert said(found.common) == ["common"]
    assert {title: said(places) for title, places in found.columns.items()} == {
        "ks accuracy": [],
        "sid accuracy": ["task"],
    }
    assert [said(line.notes) for line in found.lines] == [[], ["name"], []]
    assert [said(one.notes) for line in found.lines for one in line.cells if one] == [[], [], [], [], ["one"], []]


def test_encoders_that_no_test_separates_share_a_rank(pages):
    """floor hits half of its clips, the hostile one 44 % of them."""
    assert "rank # =2–3" in cells(pages[WORDS], "floor")[1]
    assert "rank # 4" in cells(pages[WORDS], "learned~random")[1]


def test_the_best_two_of_a_column_are_marked_in_words_too(pages):
    assert "second best" in cells(pages[WORDS], "floor")[1]
    assert " best" not in cells(pages[WORDS], "learned~random")[1]


def test_a_missing_score_is_an_open_cell(pages):
    assert cells(pages[WORDS], "floor")[2] == "no score –"


def test_nothing_is_verified_or_clean_unless_somebody_said_so(folder, pages):
    said = "94 M parameters MIT self-reported corpora of the tasks in pre-training : unknown"
    assert cells(pages[WORDS], "learned")[0] == said
    found = list(records.briefly(folder.parent / "results"))
    board = boards.board(PLANS[0], found)
    board.rows[0].facts.update(state="reproduced", seen={"ks": "seen", "asr": "unknown", "pr": "seen"})
    at = addresses.addresses([board], found)
    facts = tables.table(board, at.upstreams, {}).lines[0].facts
    assert (facts["state"].text, facts["seen"].text) == ("reproduced", "seen: ks, pr; unknown: asr")
    assert facts["heard"].text == "2 seen, 1 unknown"


def test_published_rows_are_a_table_of_their_own_that_says_nobody_ran_them(pages):
    board, _, published = pages[WORDS].partition('<section class="published"')
    assert "HuBERT Large" in published
    assert "HuBERT Large" not in board
    assert "not re-run" in published
    assert "Source: the SUPERB leaderboard" in published
    assert "interval" not in published.split("<table")[1]


def test_a_demo_board_says_that_it_ranks_nobody(pages):
    assert "They do not rank encoders" in pages["boards/demo.html"]
    assert "They do not rank encoders" not in pages[WORDS]


def test_an_encoder_stands_beside_its_untrained_twin(pages):
    page = encoder(pages, "learned")
    own, twin = cells(page, "ks")[:2]
    assert float(own.split()[0]) > 80
    assert float(twin.split()[0]) < 40
    assert "learned~random</a>" in page
    assert "With trained weights" in encoder(pages, "learned-random")


def test_an_encoders_page_has_facts_costs_and_its_records_to_download(folder, pages):
    page = encoder(pages, "learned")
    assert "yes, feature by feature" in page
    assert "no: layers-each" in page
    copies = [link for attributes, _ in Page(page).all("a") if "records/" in (link := attributes["href"])]
    endings = [Path(link).name.partition(".")[2] for link in copies]
    assert sorted(endings) == sorted(["json", "replicates.npz", "rows.jsonl.gz"] * 4)
    for link in copies:
        copy = folder / link.removeprefix("../")
        assert copy.read_bytes() == (folder.parent / "results" / link.removeprefix("../")).read_bytes()


def test_real_boards_come_first_and_demo_boards_say_once_that_they_rank_nobody(pages):
    real, _, demo = pages["index.html"].partition("Demo boards")
    assert "boards/words.html" in real
    assert "boards/demo.html" in demo
    assert pages["index.html"].count("They do not rank encoders") == 1


def test_a_tasks_page_says_what_it_measures(pages):
    page = pages["tasks/ks.html"]
    assert "Keyword spotting" in page
    assert 'href="https://arxiv.org/abs/2105.01051"' in page
    assert "accuracy in %, higher is better" in page
    assert "not installed where the site was made" in pages["tasks/sid.html"]


def test_directions_of_empty_columns_come_from_the_cards_and_are_not_guessed():
    plan = BoardPlan("b", "B", ("ks", "asr"), columns=("ks accuracy_published", "asr wer"))
    found = tables.table(boards.board(plan, []), {}, {"ks": CARD})
    assert found.better == {"ks accuracy_published": "higher", "asr wer": None}


# ---- safe, and for everybody -----------------------------------------------------------------------------------------


def test_nothing_that_a_record_or_a_card_says_is_markup(pages):
    for path, text in pages.items():
        scripts = [attributes for attributes, _ in Page(text).all("script")]
        assert all("src" in one or one["type"] == "application/json" for one in scripts), path
        assert not Page(text).all("img"), path
        assert "javascript:" not in text, path
    assert "&lt;script&gt;" in pages[WORDS]


def test_every_table_has_a_caption_and_every_head_a_scope(pages):
    for path, text in pages.items():
        page = Page(text)
        assert len(page.all("table")) == len(page.all("caption")), path
        assert all(attributes.get("scope") in ("row", "col") for attributes, _ in page.all("th")), path
        assert len(page.all("h1")) == 1, path


def test_every_chart_has_a_text_in_its_place_and_every_field_a_label(pages):
    for path, text in pages.items():
        for figure in re.findall(r"<figure.*?</figure>", text, re.DOTALL):
            assert re.search(r'role="img" aria-label="[^"]{30,}"', figure), path
        for field in re.findall(r"<(?:select|input)", text):
            assert re.search(rf"<label>[^<]+{field}", text), path


def test_nothing_but_links_points_elsewhere(pages):
    for path, text in pages.items():
        loaded = Page(text).all("script", "link", "img", "iframe", "source")
        assert not [one for one, _ in loaded if "//" in (one.get("src") or one.get("href") or "")], path


# ---- the folder ------------------------------------------------------------------------------------------------------


def test_an_earlier_site_is_replaced_as_a_whole(tmp_path, monkeypatch):
    folder = site(tmp_path, monkeypatch)
    (folder / "boards" / "gone.html").write_text("old")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.name != "gone.html" and path.is_file()}
    site(tmp_path, monkeypatch)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("there", ["notes.txt", "boards/only.md"])
def test_a_folder_with_anything_else_is_left_alone(there, tmp_path, monkeypatch):
    file = tmp_path / "site" / there
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    with pytest.raises(RequestError, match="no earlier site of ours"):
        site(tmp_path, monkeypatch)
    assert file.read_text() == "mine"


def test_a_missing_library_is_named_with_the_line_that_installs_it(tmp_path, monkeypatch):
    monkeypatch.setattr(assets.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r"needs the package 'jinja2'(?s:.*)pip install 'earbench\[report\]'"):
        site(tmp_path, monkeypatch)
    assert not (tmp_path / "site").exists()


def test_encoders_whose_names_a_disk_cannot_tell_apart_have_pages_of_their_own(tmp_path):
    for name in ("a b", "a/b", "A-b"):
        record = store(tmp_path, name, folds=[hits([0.5] * 6)])
        facts = json.loads(record.path.read_text())
        facts["upstream"]["digest"] = "0" * 16
        record.path.write_text(json.dumps(facts))
    found = addresses.addresses([], records.briefly(tmp_path))
    assert len({path.casefold() for path in found.upstreams.values()}) == 3


# ---- numbers behind charts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("odd", [1e308, float("inf"), float("nan"), 0.0, -3.0])
def test_a_cost_that_cannot_be_true_is_told_and_left_out(odd, folder):
    found = list(records.briefly(folder.parent / "results"))
    board = boards.board(PLANS[0], found)
    board.rows[1].facts["real_time_factor"] = odd
    made = tables.table(board, addresses.addresses([board], found).upstreams, {})
    factor, parameters = charts.points(made)["costs"]
    assert factor["odd"] == [1]
    assert [value is None for value in factor["values"]] == [False, True, False, False]
    assert (parameters["odd"], 0 in parameters["values"]) == ([], True)


def test_maps_have_every_layers_score_and_weight_and_their_shades(folder):
    found = [records.read(path) for path in folder.glob("records/learned-*/*/*.json")]
    own = [record for record in found if record.upstream == "learned"]
    (scored,) = layer_maps.scores_by_layer(own)
    assert (scored.title, scored.values) == ("ks accuracy", EACH)
    assert scored.shades == (0.4, 0.7, 0.55)
    weighed = {strip.title: strip for strip in layer_maps.weights_by_layer(own)}
    assert list(weighed) == ["ks", "ks (demo)", "sid"]
    assert weighed["ks"].values == tuple(WEIGHTS)
    assert weighed["ks"].shades == (0.2, 0.4, 1.0)


def layered(*scores, choice="each", **changes):
    """A record with these scores, (value, low, high), of each layer."""
    kinds = {"unit": "%", "better": "higher", "bounds": [0, 100]} | changes
    each = [
        {"layer": layer, "scores": {"wer": {"value": value, "low": low, "high": high, **kinds}}}
        for layer, (value, low, high) in enumerate(scores)
    ]
    facts = {"layers": {"choice": choice, "each": each}, "task": {"name": "asr", "demo": False, "version": 1}}
    return records.Record(Path("x-1.json"), facts | {"provenance": {"when": "2026-01-01T00:00:00+00:00"}})


def test_layers_that_their_intervals_do_not_tell_apart_look_alike():
    record = layered((12.0, 8.0, 18.0), (14.5, 10.0, 20.0), (None, None, None))
    (strip,) = layer_maps.scores_by_layer([record])
    assert strip.ends == (8.25, 18.25)
    assert strip.shades == (0.375, 0.625, None)


def test_shades_span_scores_that_lie_far_apart_and_never_leave_the_metrics_bounds():
    (far,) = layer_maps.scores_by_layer([layered((10.0, 8.0, 12.0), (60.0, 58.0, 62.0))])
    assert (far.ends, far.shades) == ((10.0, 60.0), (0.0, 1.0))
    (near,) = layer_maps.scores_by_layer([layered((1.0, 0.0, 10.0), (2.0, 0.5, 10.5))])
    assert near.ends == (0.0, 10.0)


def test_without_intervals_shades_span_the_bounds_or_the_scores_where_there_are_none():
    values = ((30.0, None, None), (10.0, None, None), (None, None, None), (20.0, None, None))
    (bound,) = layer_maps.scores_by_layer([layered(*values, better="lower")])
    assert (bound.ends, bound.shades) == ((100, 0), (0.7, 0.9, None, 0.8))
    (free,) = layer_maps.scores_by_layer([layered(*values, better="lower", bounds=[0, None])])
    assert (free.ends, free.shades) == ((30.0, 10.0), (0.0, 1.0, None, 0.5))
    assert free.texts == ("30.00", "10.00", "-", "20.00")


def test_a_task_without_weights_of_layers_is_told_with_the_reason(folder):
    last = layered(choice="last")
    assert layer_maps.without_weights([last, layered((1.0, 0.0, 2.0))]) == {"heads see the last layer alone": ["asr"]}
    known = [records.read(path) for path in folder.glob("records/floor-*/*/*.json")]
    assert layer_maps.without_weights(known) == {}


# ---- what can be downloaded, and what was declared -------------------------------------------------------------------


def test_what_a_site_would_hold_too_much_of_stays_with_the_results(tmp_path):
    record = store(tmp_path, "floor", folds=[hits([0.5] * 6)])
    sizes = [record.beside(ending).stat().st_size for ending in (".replicates.npz", ".rows.jsonl.gz")]
    every = (".json", ".replicates.npz", ".rows.jsonl.gz")
    both = record.path.stat().st_size + sum(sizes)
    assert [build.carried([record], most) for most in (both, both - 1, 0)] == [every, every[:2], every[:1]]


def test_what_a_site_does_not_hold_is_told_where_it_lies(tmp_path, monkeypatch):
    monkeypatch.setattr(build.carried, "__defaults__", (0,))
    folder = site(tmp_path, monkeypatch)
    assert not [path for path in folder.rglob("*") if path.suffix in (".npz", ".gz")]
    page = next(folder.glob("upstreams/floor-*.html")).read_text("utf-8")
    assert "Not part of this site, for their size: replicates and rows" in page


def test_declared_contact_and_licence_are_shown_and_what_nobody_declared_is_said(tmp_path):
    record = store(tmp_path, "floor", folds=[hits([0.5] * 6)])
    assert encoders.facts([record], {})["Contact"] == "nothing declared"
    declared.write(
        record.path.parent.parent, declared.Declared("me@example.org", "MIT", seen=(declared.corpus_of(record),))
    )
    found = encoders.facts([record], {})
    assert (found["Contact"], found["Declared licence"], found["State"]) == ("me@example.org", "MIT", "self-reported")
    assert found["Corpora seen in pre-training"].startswith("seen: ")
