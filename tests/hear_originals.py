"""Tiny original corpora in their official layouts, for what is made from them."""

import csv
import json

import numpy as np
import soundfile

STROKES = ("bheem", "cha", "tha")
TONICS = ("b", "csh")
WORDS = ("down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes", "backward", "bed")


def save(path, seconds, rate=16_000, channels=1):
    """Noise that is another in every file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(list(path.name.encode()))
    samples = rng.integers(-32_768, 32_768, size=(round(seconds * rate), channels), dtype=np.int16)
    soundfile.write(path, samples, rate, "PCM_16")


def esc50(root):
    """Two categories in five folds; the clips of one are shorter than five seconds."""
    home = root / "ESC-50-master"
    rows = [
        {"filename": f"{fold}-{900 + number}-A-{number}.wav", "fold": fold, "target": number, "category": category}
        for number, category in enumerate(("rooster", "dog"))
        for fold in (3, 1, 5, 2, 4)
    ]
    for row in rows:
        save(home / "audio" / row["filename"], 0.2 if row["target"] else 5.1, 8_000)
    (home / "meta").mkdir()
    with (home / "meta" / "esc50.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return root


def mridangam(root):
    """Ten recordings of each tonic and of each stroke at least, in a folder per tonic."""
    number = 224_030
    for stroke in STROKES:
        for tonic in TONICS:
            for take in range(1, 6):
                name = f"{number}__akshaylaya__{stroke}-{tonic}-{take:03d}.wav"
                save(root / "mridangam_stroke_1.5" / tonic.upper() / name, 0.1, 44_100)
                number += 1
    return root


def nsynth(root, pitches=(20, 21, 60, 108, 109)):
    """Four instruments in each split, each with two pitches that are out of range."""
    for split in ("train", "valid", "test"):
        notes = {
            f"bass_{split}_{instrument:03d}-{pitch:03d}-050": {"pitch": pitch, "qualities": [0, 1]}
            for instrument in range(4)
            for pitch in pitches
        }
        for name in notes:
            save(root / f"nsynth-{split}" / "audio" / f"{name}.wav", 0.1)
        (root / f"nsynth-{split}" / "examples.json").write_text(json.dumps(notes))
    return root


def speech_commands(root):
    """Twelve words by four speakers, one of whom is in valid and one in the list of the test recordings."""
    home, tests = root / "speech_commands_v0.02", root / "speech_commands_test_set_v0.02"
    for word in WORDS:
        for speaker in ("0a1b", "22cd", "9f00", "77aa"):
            save(home / word / f"{speaker}_nohash_0.wav", 0.1)
    for name, speaker in (("validation", "22cd"), ("testing", "9f00")):
        (home / f"{name}_list.txt").write_text("".join(f"{word}/{speaker}_nohash_0.wav\n" for word in WORDS))
    save(home / "_background_noise_" / "running_tap.wav", 2.1)
    save(home / "_background_noise_" / "pink_noise.wav", 2.6)
    for word in WORDS[:10]:
        save(tests / word / "9f00_nohash_0.wav", 0.1)
    save(tests / "_silence_" / "167.wav", 1.0)
    save(tests / "_unknown_" / "bed_9f00_nohash_0.wav.wav", 0.1)
    return root
