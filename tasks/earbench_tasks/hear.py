"""The nineteen tasks of HEAR 2021, a row each, and `hear:FOLDER`, any other task folder that HEAR's tool prepared.

The protocol is one for all of them and stands in `earbench.kit.hear_task`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from earbench.contract import Corpus, Task, TaskCard, UpstreamCard
from earbench.errors import MissingCorpus, RequestError
from earbench.kit import archives
from earbench.kit.hear import EVENTS, MULTICLASS, MULTILABEL, VOCABULARY
from earbench.kit.hear_find import METADATA
from earbench.kit.hear_task import SCORES, HearTask
from earbench.kit.metrics.events import METRICS as EVENT_METRICS
from earbench.kit.metrics.hear import MEAN_AP, TOP1_ACC
from earbench.kit.text import slug

VERSION = 2
"""Of all of them: they share the predictor that moves their scores."""
LAYOUT = (
    "HEAR's prepared task folder, unpacked at any depth below one root for all tasks:\n"
    f"  FOLDER/   {METADATA}, {VOCABULARY}, a JSON per split,\n"
    "  and a folder of audio per sample rate; the encoder's own rate is preferred.\n"
    "An archive that lies there, named as HEAR's tool or its publishers do, is unpacked when it is needed:\n"
)

# ---- any folder ------------------------------------------------------------------------------------------------------


class Folder(HearTask):
    """`hear:FOLDER`: the name of a task folder under the corpus' root (its beginning will do), or a path of one."""

    card = TaskCard(
        "hear",
        VERSION,
        "Yours: hear:FOLDER, a task folder that HEAR's tool prepared",
        Corpus(
            "hear",
            "a prepared HEAR task folder",
            page="",
            licence="yours",
            layout=f"{LAYOUT}  hear-VERSION-FOLDER-RATE.tar.gz",
        ),
        "clip",
        (TOP1_ACC, MEAN_AP, EVENT_METRICS["event_onset_200ms_fms"]),
        suite="own",
        protocol="HEAR 2021",
        verified="vectors",
    )

    @classmethod
    def load(cls, argument: str | None) -> Task:
        task = cls(cls.card, [argument])
        if argument is not None and (argument[0] in "~." or os.sep in argument):
            task.homes = [None]
            task.root = Path(argument).expanduser().resolve()
            if not task.root.exists():
                raise MissingCorpus(f"--task hear:{argument}: {task.root} is not there")
        return task

    def at(self, root: Path, upstream: UpstreamCard) -> Self:
        """The task is called by its folder: the `task_name` of metadata may be wrong (sheet 2.1).

        Nothing is published of it: what is found is what there is.
        """
        stated = super().at(root, upstream)
        corpus = replace(self.card.corpus, counts=stated.census(stated.folds(root, upstream)))
        stated.card = replace(stated.card, name=f"hear-{slug(stated.first.name)}", corpus=corpus)
        return stated


# ---- the nineteen ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Published:
    """One of HEAR's tasks: its card, the folders that it is published in, and what they ask."""

    card: TaskCard
    folders: Sequence[str]
    kind: tuple[str, str]

    def load(self, argument: str | None) -> Task:
        if argument is not None:
            raise RequestError(
                f"task '{self.card.name}' takes no argument, got ':{argument}'", "--task hear:FOLDER runs any folder"
            )
        return HearTask(self.card, self.folders, self.kind)


def published(
    name: str,
    title: str,
    folders: str | Sequence[str],
    kind: tuple[str, str],
    counts: Mapping[str, int],
    scores: str,
    licence: str,
) -> Published:
    """A row of HEAR sheet 2.3: what is counted, and the scores, the primary one first."""
    folders = (folders,) if isinstance(folders, str) else folders
    corpus = Corpus(
        id="hear",
        title=f"HEAR 2021, {' and '.join(folders)}",
        page="https://zenodo.org/records/5885750",
        licence=licence,
        layout=LAYOUT + "\n".join(f"  hear2021-{folder}-48000.tar.gz" for folder in folders),
        counts=counts,
        archives=archives.hear(*folders),
    )
    metrics = tuple(metric for score in scores.split() for metric in SCORES[kind][score])
    grain = "frame" if kind == EVENTS else "clip"
    card = TaskCard(name, VERSION, title, corpus, grain, metrics, "hear", "HEAR 2021", verified="vectors")
    return Published(card, folders, kind)


def splits(labels: int, train: int, valid: int, test: int) -> dict[str, int]:
    return {"labels": labels, "train": train, "valid": valid, "test": test}


def test_and_others(labels: int, others: int, test: int) -> dict[str, int]:
    """Of some tasks only the sum of train and valid is published."""
    return {"labels": labels, "train + valid": others, "test": test}


def kfold(labels: int, folds: int, clips: int) -> dict[str, int]:
    return {"labels": labels, "folds": folds, "clips": clips}


FOUR = "top1_acc mAP d_prime aucroc"
"""The scores of most tasks that were secret in 2021."""

DCASE2016 = published(
    "hear_dcase2016",
    "Office sounds in two minutes, which when (DCASE 2016 task 2)",
    "dcase2016_task2-hear2021-full",
    EVENTS,
    splits(11, 44, 14, 14),
    "event_onset_200ms_fms segment_1s_er",
    "CC BY 3.0 and CC BY 4.0",
)
PITCH = published(
    "pitch",
    "NSynth pitch, 5 hours",
    "nsynth_pitch-v2.2.3-5h",
    MULTICLASS,
    splits(88, 4000, 500, 500),
    "pitch_acc chroma_acc",
    "CC BY 4.0",
)
PITCH_50H = published(
    "hear_nsynth_pitch_50h",
    "NSynth pitch, 50 hours",
    "nsynth_pitch-v2.2.3-50h",
    MULTICLASS,
    splits(88, 40_000, 5000, 4060),
    "pitch_acc chroma_acc",
    "CC BY 4.0",
)
SPEECH_COMMANDS_5H = published(
    "hear_speech_commands_5h",
    "Speech Commands v0.02, twelve classes, 5 hours",
    "speech_commands-v0.0.2-5h",
    MULTICLASS,
    splits(12, 16_000, 2000, 4890),
    "top1_acc",
    "CC BY 4.0",
)
SPEECH_COMMANDS_FULL = published(
    "hear_speech_commands_full",
    "Speech Commands v0.02, twelve classes",
    "speech_commands-v0.0.2-full",
    MULTICLASS,
    test_and_others(12, 95_613, 4890),
    "top1_acc",
    "CC BY 4.0",
)
BEEHIVE = published(
    "hear_beehive",
    "Beehives with and without their queen, ten minutes at a time",
    ("beehive_states_fold0-v2-full", "beehive_states_fold1-v2-full"),
    MULTICLASS,
    kfold(2, 2, 576),
    "aucroc mAP d_prime top1_acc",
    "CC BY 4.0",
)
BEIJING_OPERA = published(
    "hear_beijing_opera",
    "Percussion of the Beijing opera",
    "beijing_opera-v1.0-hear2021-full",
    MULTICLASS,
    kfold(4, 5, 236),
    FOUR,
    "CC BY 4.0",
)
CREMA_D = published(
    "hear_crema_d",
    "Emotions of actors (CREMA-D)",
    "tfds_crema_d-1.0.0-full",
    MULTICLASS,
    kfold(6, 5, 7438),
    FOUR,
    "ODbL 1.0",
)
ESC50 = published(
    "hear_esc50",
    "Environmental sounds (ESC-50)",
    "esc50-v2.0.0-full",
    MULTICLASS,
    kfold(50, 5, 2000),
    FOUR,
    "CC BY-NC 3.0",
)
FSD50K = published(
    "hear_fsd50k",
    "Tags of Freesound clips (FSD50K)",
    "fsd50k-v1.0-full",
    MULTILABEL,
    test_and_others(200, 40_954, 10_231),
    "mAP d_prime aucroc top1_acc",
    "CC BY 4.0; of each clip its own, also CC BY-NC",
)
GUNSHOT = published(
    "hear_gunshot",
    "Which microphone heard the gunshot",
    "gunshot_triangulation-v1.0-full",
    MULTICLASS,
    kfold(4, 7, 88),
    FOUR,
    "unclear",
)
GTZAN_GENRE = published(
    "hear_gtzan_genre",
    "Genres of music (GTZAN)",
    "tfds_gtzan-1.0.0-full",
    MULTICLASS,
    kfold(10, 10, 1000),
    FOUR,
    "unclear",
)
GTZAN_MUSIC_SPEECH = published(
    "hear_gtzan_music_speech",
    "Music or speech (GTZAN)",
    "tfds_gtzan_music_speech-1.0.0-full",
    MULTICLASS,
    kfold(2, 10, 128),
    FOUR,
    "unclear",
)
LIBRICOUNT = published(
    "hear_libricount",
    "How many people talk at once (LibriCount)",
    "libricount-v1.0.0-hear2021-full",
    MULTICLASS,
    kfold(11, 5, 5720),
    FOUR,
    "CC BY 4.0",
)
MAESTRO = published(
    "hear_maestro_5h",
    "Piano notes in two minutes, which when (MAESTRO), 5 hours",
    "maestro-v3.0.0-5h",
    EVENTS,
    kfold(88, 5, 185),
    "event_onset_50ms_fms event_onset_offset_50ms_20perc_fms",
    "CC BY-NC-SA 4.0",
)
MRIDANGAM_STROKE = published(
    "hear_mridangam_stroke",
    "Strokes of the mridangam",
    "mridangam_stroke-v1.5-full",
    MULTICLASS,
    kfold(10, 5, 6977),
    FOUR,
    "unclear",
)
MRIDANGAM_TONIC = published(
    "hear_mridangam_tonic",
    "Tonics of the mridangam",
    "mridangam_tonic-v1.5-full",
    MULTICLASS,
    kfold(6, 5, 6977),
    FOUR,
    "unclear",
)
VOCAL_IMITATION = published(
    "hear_vocal_imitation",
    "What sound a voice imitates (Vocal Imitation Set)",
    "vocal_imitation-v1.1.3-full",
    MULTICLASS,
    kfold(302, 3, 5601),
    "mAP d_prime aucroc top1_acc",
    "CC BY 4.0",
)
VOX_LINGUA = published(
    "hear_vox_lingua_top10",
    "Which of ten languages is spoken (VoxLingua107)",
    "vox_lingua_top10-hear2021-full",
    MULTICLASS,
    kfold(10, 5, 972),
    FOUR,
    "CC BY 4.0",
)
