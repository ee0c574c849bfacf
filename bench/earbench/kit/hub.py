"""Model folders in the layout of transformers: on disk, in the hub's cache, or fetched into it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earbench.errors import BadCheckpoint, MissingWeights
from earbench.kit.weights import file_digest, read_state

CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")


@dataclass(frozen=True)
class Snapshot:
    """A folder with config.json and weights. `name` is for messages, `source` for records (never a local path)."""

    folder: Path
    name: str
    source: Mapping[str, str]

    def facts(self, name: str) -> dict[str, Any]:
        """The JSON file `name` of this folder; empty where there is none."""
        path = self.folder / name
        if not path.is_file():
            return {}
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise BadCheckpoint(f"{name} of {self.name} is not JSON: {error}") from error
        if not isinstance(found, dict):
            raise BadCheckpoint(f"{name} of {self.name} holds no settings")
        return found

    def weights(self) -> tuple[dict[str, Any], dict[str, str]]:
        """The weights, from one file or from all shards of an index, and the names and digests of these files."""
        files = weight_files(self.folder)
        if not files:
            raise BadCheckpoint(f"{self.name} has no weights", f"looked for {', '.join(WEIGHTS)}")
        state: dict[str, Any] = {}
        for file in files:
            state |= read_state(file)
        names, digests = (" ".join(values) for values in ([f.name for f in files], [file_digest(f) for f in files]))
        return state, {**self.source, "file": names, "file_sha256": digests}


def local(folder: Path) -> Snapshot:
    """The model in `folder`."""
    if not (folder / CONFIG).is_file():
        raise BadCheckpoint(
            f"no model at {folder}",
            f"expected a folder with {CONFIG} and {WEIGHTS[0]} or {WEIGHTS[2]}, as transformers saves it",
        )
    return Snapshot(folder, str(folder), {})


def fetch(model: str, revision: str | None, instead: str, weights: bool = True) -> Snapshot:
    """The hub model `model` (ORG/NAME), from the cache if it is there whole, else downloaded.

    What was downloaded once is used again without asking the hub, so a run does not change when a branch moves; the
    commit it came from is in `source`. Nothing but settings and (if `weights`) weights is fetched. `instead` is the
    spec that takes a folder, for the message when the hub cannot be reached.
    """
    folder = _cached(model, revision, weights) or _download(model, revision, instead, weights)
    return Snapshot(folder, model, {"hub": model, "commit": folder.name})


def weight_files(folder: Path) -> list[Path]:
    """The weight files of a model folder: one, the shards of an index, or none. A missing shard is an error."""
    name = next((name for name in WEIGHTS if (folder / name).is_file()), None)
    if name is None:
        return []
    files = [folder / part for part in (_shards(folder / name) if name.endswith(".json") else [name])]
    if missing := [file.name for file in files if not file.is_file()]:
        raise BadCheckpoint(f"{name} names {len(missing)} files that are not there: {', '.join(missing[:5])}")
    return files


def _shards(index: Path) -> list[str]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadCheckpoint(f"{index.name} is no index of weight files: {error}") from error
    if bad := [name for name in names if not isinstance(name, str) or Path(name).name != name]:
        raise BadCheckpoint(f"{index.name} points outside its folder: {bad[0]!r}")
    return names


def _cached(model: str, revision: str | None, weights: bool) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(model, CONFIG, revision=revision)
    except HFValidationError as error:
        raise BadCheckpoint(f"'{model}' is no hub model: {error}") from error
    if not isinstance(found, str):  # None, or a mark that the hub has no such file
        return None
    folder = Path(found).parent
    try:
        return folder if not weights or weight_files(folder) else None
    except BadCheckpoint:  # an index whose shards did not all arrive
        return None


def _download(model: str, revision: str | None, instead: str, weights: bool) -> Path:
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    def get(name: str, commit: str | None) -> Path | None:
        try:
            return Path(hf_hub_download(model, name, revision=commit))
        except LocalEntryNotFoundError:  # the connection broke; a child of the next error
            raise
        except EntryNotFoundError:
            return None

    try:
        # hf_hub_download retries for half a minute when nobody answers; this question is asked once.
        get_hf_file_metadata(hf_hub_url(model, CONFIG, revision=revision), timeout=10)
        config = get(CONFIG, revision)
        if config is None:
            raise BadCheckpoint(f"the hub model {model} has no {CONFIG}")
        commit = config.parent.name
        get(PREPROCESSOR, commit)
        first = next((path for path in (get(name, commit) for name in WEIGHTS if weights) if path), None)
        for shard in _shards(first) if first and first.suffix == ".json" else []:
            get(shard, commit)
        return config.parent
    except BadCheckpoint:
        raise
    except (GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError) as error:
        if not isinstance(error, LocalEntryNotFoundError):
            raise BadCheckpoint(
                f"the hub has no model {model}{f' at {revision}' if revision else ''}, or not for you",
                f"{type(error).__name__}: check the name on the hub; a gated model needs its terms accepted",
            ) from error
        raise _unreachable(model, instead, error) from error
    except Exception as error:  # connection errors belong to whichever HTTP library the installed hub client uses
        raise _unreachable(model, instead, error) from error


def _unreachable(model: str, instead: str, error: Exception) -> MissingWeights:
    return MissingWeights(
        f"{model} is not in the cache and the hub cannot be reached ({type(error).__name__})",
        f"fetch {CONFIG}, {PREPROCESSOR} and {WEIGHTS[0]} (or {WEIGHTS[2]}) of {model} where there is a network,",
        f"put them into one folder DIR and use `--upstream {instead}`",
    )
