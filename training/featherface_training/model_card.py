"""The model card of a package, written from what was measured."""

from typing import Any

from .checkpoint import AFTERWARDS

__all__ = ["model_card"]

NAMES = {
    "v1": ("FeatherFace V1", "v1_baseline", "featherface_v1"),
    "nano": ("FeatherFace Nano", "nano_efficient", "featherface_nano"),
}
"""Title, folder and files' stem of each model's package."""

_USE = """## Intended use

Finding faces (bounding box, confidence, five landmarks) in ordinary photos: counting, blurring, cropping,
sorting. Not for identifying people, for telling age, sex, mood or origin, nor for decisions about a person;
the model says where a face is and nothing about whose it is.

## Limits

- Faces below about 12 px at the model's input size are mostly missed; use a larger input size.
- **False alarms on animals, hands, dolls and drawings come with high confidence.** Where they are common,
  raise the confidence threshold and look at what is left.
- Faces higher than about 1,000 px at the model's input size may be missed: the largest priors have 512 px.
- Faces that are strongly rotated, heavily occluded, very dark or drawn, and profiles, score lower.
- No audit over skin tones, ages or sexes has been made. WIDER FACE carries no such labels and is not a
  balanced sample; measure on your own photos before you rely on it.
- Confidence orders detections; it is not a probability. The last table says what it stands for on WIDER.
"""


def _landmarks(measured: dict[str, Any]) -> str:
    return f"""
Landmarks: mean error {measured["normalised_mean_error"]:.2%} of the face's size
({measured["normalised_by"]}) on the {measured["found"]} of {measured["photos"]} held-out portraits
in which the face was found, long side {measured["size"]}.
"""


def _confidence(measured: dict[str, Any]) -> str:
    rows = "\n".join(
        f"| {i / 10:.1f} to {(i + 1) / 10:.1f} | {count:,} | {'' if right is None else f'{right:.3f}'} |"
        for i, (count, right) in enumerate(zip(measured["detections"], measured["right"], strict=True))
    )
    return f"""
What share of the detections of a confidence is right, on the same photos at {measured["size"]} px (fp32):
on average {measured["error"]:.3f} apart.

| confidence | detections | share that is right |
|---|---|---|
{rows}
"""


def _size(size: int | str) -> str:
    return "their own size" if size == "original" else f"{size} px"


def notes_of(training: dict[str, Any]) -> dict[str, Any]:
    """Return what a package tells of its training beside settings and steps, by `deployment_config.json`."""
    told_apart = ("settings", "steps", "history", *AFTERWARDS)
    return {name: value for name, value in training.items() if name not in told_apart}


def model_card(title: str, configuration: dict[str, Any]) -> str:
    """Return the card as Markdown.

    Parameters
    ----------
    title : str
        The model's name.
    configuration : dict
        The package's `deployment_config.json`.
    """
    metrics, training = configuration["metrics"], configuration["training"]
    settings = training["settings"]
    notes = notes_of(training)
    earlier = sum(stage["steps"] for stage in training["history"])
    landmarks = metrics.get("landmarks")
    precision = _landmarks(landmarks) if landmarks else ""
    before = f" The run started from the weights of an earlier one ({earlier:,} steps)." if earlier else ""
    if settings.get("parts"):
        before += f" It trained {', '.join(f'`{part}`' for part in settings['parts'])} alone."
    if settings.get("frozen_statistics"):
        before += " Batch normalisation kept the statistics of its starting weights."
    if settings.get("muon_rate"):
        before += " Muon moved the dense convolutions between its stem and its heads."
    if settings.get("ranking", {}).get("weight"):
        before += " Its loss climbed average precision, too."
    if "average" in training:
        averaged = training["average"]
        shares = " and ".join(f"{stage['weight']:.0%} of run {stage['stage']}'s" for stage in averaged)
        before += f" The weights are a mean: {shares}, as `history` has the runs, the first one being 1."
    if "ranking" in training:
        fitted = training["ranking"]
        photos = f"{fitted['photos']:,} photos of WIDER"
        if others := [f"{count:,} of `{name}`" for name, count in fitted["extra"].items()]:
            photos += f" and, of the other sets, {' and '.join(others)}"
        sizes = " and ".join(_size(size) for size in fitted["sizes"])
        before += (
            " The two layers before the class outputs were fitted afterwards to the average precision on "
            f"{photos}, at {sizes}{', those of WIDER once more mirrored' if fitted.get('mirrored') else ''}."
        )
    *most, last = map(str, sorted(set(settings["sizes"])))
    sides = f"{', '.join(most)} and {last}" if most else last
    rows = "\n".join(
        f"| {row['precision']} | {row['size']} | "
        f"{row['easy']:.4f} | {row['medium']:.4f} | {row['hard']:.4f} |"
        for row in metrics["average_precision"]
    )
    told = "\n".join(f"- {key.replace('_', ' ').capitalize()}: {value}" for key, value in notes.items())
    partial = (
        ""
        if metrics["complete"]
        else " Parts of val differ from the whole: don't set these figures\nbeside published ones."
    )
    return f"""# {title} {configuration["version"]}

{configuration["parameters"]:,} trainable parameters. RetinaFace-style detector (Deng et al., CVPR 2020) with
CBAM (Woo et al., ECCV 2018) and BiFPN (Tan et al., CVPR 2020), after FeatherFace (Kim et al., Electronics
2025, 14(3), 517). Weights and code: MIT.

## Training data and its licence

WIDER FACE (Yang et al., CVPR 2016): a **part** of its training set, with RetinaFace's landmark labels. WIDER
FACE is published for research use (CC BY-NC-ND); whether weights trained on it may be used commercially is
for you to judge. No photo of it is distributed with this package.

{told}
- Steps: {training["steps"]:,} of batch {settings["batch"]}, crops of {sides} px, seed {settings["seed"]}.
 {before} All settings are in `deployment_config.json`.

{_USE}
## Measured

{metrics["data"]}; {metrics["protocol"]}.{partial} Measured on {metrics["date"]}
({metrics["machine"]}) with

    {metrics["command"]}

| precision | long side | easy AP | medium AP | hard AP |
|---|---|---|---|---|
{rows}
{precision}{_confidence(metrics["confidence"])}"""
