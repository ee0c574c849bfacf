"""HEAR's prepared task folders from the original corpora, where HEAR's split rule is known (HEAR sheet 2.3).

`BUILDERS` names by HEAR's folder what reads an original corpus into a `Draft`, which is then written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from earbench.kit.hear_raw import esc50, mridangam, nsynth, speech_commands
from earbench.kit.hear_raw.draft import Draft

BUILDERS: Mapping[str, Callable[[Path], Draft]] = {
    "esc50-v2.0.0-full": esc50.draft,
    "mridangam_stroke-v1.5-full": mridangam.stroke,
    "mridangam_tonic-v1.5-full": mridangam.tonic,
    "nsynth_pitch-v2.2.3-5h": nsynth.five_hours,
    "nsynth_pitch-v2.2.3-50h": nsynth.fifty_hours,
    "speech_commands-v0.0.2-5h": speech_commands.five_hours,
    "speech_commands-v0.0.2-full": speech_commands.full,
}
