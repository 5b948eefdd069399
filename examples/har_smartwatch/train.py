"""Train the stacked-encoder L2MU on the smartwatch recordings and write the example's files.

People 9 and 10 are only ever evaluated, by the run that writes the checkpoint; with
``--validate 7,8`` those people are held out of people 1-8 instead and nothing is written.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, fields
from pathlib import Path

import data
import numpy as np
import torch
import torch.nn.functional as F
import unrolled
from snntorch import surrogate
from torch import Tensor, nn

from l2mu_compile.l2mu import L2MU, L2MUConfig, NeuronParameters

HERE = Path(__file__).resolve().parent
CALIBRATION_PER_CLASS = 8


@dataclass
class Recipe:
    """Everything a training run depends on besides the people it sees."""

    seed: int = 0
    pop_size: int = 16
    encoding_size: int = 64
    output_transformer_size: int = 64
    hidden_size: int = 128
    memory_size: int = 64
    order: int = 4
    theta: float = 12.0  # steps
    steps: int = 2400
    batch: int = 64
    learning_rate: float = 4e-3
    weight_decay: float = 1e-2
    logit_per_spike: float = 0.15
    label_smoothing: float = 0.1
    rate_target: float = 0.08  # mean spikes per neuron and step above which a population pays
    rate_weight: float = 20.0
    mirror: float = 0.5  # probability
    rotation: float = 0.15  # radians, standard deviation of a random rotation of the watch
    speed: float = 0.2  # log standard deviation of a change of tempo
    gain: float = 0.2  # standard deviation, per channel
    noise: float = 0.1  # standard deviation per sample, in scaled units
    drop: float = 0.1  # probability that a neuron is silent for a window


def build(recipe: Recipe) -> L2MU:
    """An untrained model: decay rates spread over each population, mixed-sign channel weights."""
    sizes = {
        **dict.fromkeys(data.CHANNELS, recipe.pop_size),
        "encoder": recipe.encoding_size,
        "decoder": recipe.output_transformer_size,
        "u": recipe.memory_size,
        "m": recipe.memory_size * recipe.order,
        "h": recipe.hidden_size,
        "output": len(data.CLASSES),
    }
    config = L2MUConfig(
        inputs=len(data.CHANNELS),
        classes=len(data.CLASSES),
        hidden_size=recipe.hidden_size,
        memory_size=recipe.memory_size,
        order=recipe.order,
        theta=recipe.theta,
        encoder="stacked",
        pop_size=recipe.pop_size,
        encoding_size=recipe.encoding_size,
        output_transformer_size=recipe.output_transformer_size,
        neurons={name: initial_neurons(name, size) for name, size in sizes.items()},
    )
    model = L2MU(config, surrogate.fast_sigmoid(slope=unrolled.SLOPE))
    with torch.no_grad():
        encoder = model.input_encoder
        for linear in encoder.hidden_encoder_list:
            sign = torch.tensor([1.0, -1.0]).repeat(recipe.pop_size)[: recipe.pop_size, None]
            linear.weight.uniform_(0.2, 1.0).mul_(sign)
            linear.bias.uniform_(-0.5, 0.1)
        encoder.encoder.weight.mul_(2.5)
        encoder.decoder.weight.mul_(2.5)
    return model


def initial_neurons(name: str, size: int) -> NeuronParameters:
    """One beta and one threshold per neuron, so that each neuron learns its own."""
    low, high = {"m": (0.9, 0.9), "output": (0.9, 0.9)}.get(name, (0.6, 0.97))
    if name in data.CHANNELS:
        low, high = 0.3, 0.95
    threshold = 0.5 if name == "m" else 1.0
    return NeuronParameters([float(v) for v in np.linspace(low, high, size)], [threshold] * size)


class Sampler:
    """Random augmented training windows, every class equally often."""

    def __init__(self, recordings: list[data.Recording], recipe: Recipe) -> None:
        self.recipe = recipe
        self.random = np.random.default_rng(recipe.seed)
        self.recordings = recordings
        lengths = np.array([len(r.x) for r in recordings], dtype=float)
        per_class = np.bincount([r.y for r in recordings], weights=lengths)
        weights = lengths / per_class[[r.y for r in recordings]]
        self.weights = weights / weights.sum()

    def batch(self) -> tuple[Tensor, Tensor]:
        """Samples ``[T, B, 6]`` and classes ``[B]``."""
        chosen = self.choose(self.recipe.batch)
        x = np.stack([self.window(self.recordings[i].x) for i in chosen], axis=1)
        y = torch.tensor([self.recordings[i].y for i in chosen])
        return torch.from_numpy(x.astype(np.float32)), y

    def choose(self, count: int) -> np.ndarray:
        """Numbers of recordings to cut windows from."""
        return self.random.choice(len(self.recordings), count, p=self.weights)

    def window(self, x: np.ndarray) -> np.ndarray:
        """One window ``[T, 6]`` from anywhere in a recording, augmented."""
        recipe, random = self.recipe, self.random
        speed = float(np.clip(np.exp(random.normal(0, recipe.speed)), 0.6, 1.6))
        start = random.uniform(0, len(x) - 1 - speed * data.WINDOW)
        moments = start + speed * np.arange(data.WINDOW)
        before = moments.astype(int)
        part = (moments - before)[:, None]
        x = (x[before] * (1 - part) + x[before + 1] * part) * data.SCALE + data.OFFSET
        x[:, 1::2] *= speed
        x = rotate(x, random.normal(0, recipe.rotation, 3))
        x = (x - data.OFFSET) / data.SCALE
        if random.random() < recipe.mirror:
            x = x * data.MIRROR
        x = x * random.normal(1, recipe.gain, 6)
        return x + random.normal(0, recipe.noise, x.shape)


def rotate(samples: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Samples ``[T, 6]``, in g and rad/s, of a watch turned by a rotation vector (rad)."""
    angle = float(np.linalg.norm(vector)) + 1e-12
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    matrix = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return (matrix @ samples.reshape(-1, 3, 2)).reshape(samples.shape)


def train(recordings: list[data.Recording], recipe: Recipe) -> L2MU:
    """A model trained on all of ``recordings`` for a fixed number of steps."""
    torch.manual_seed(recipe.seed)
    model, sampler = build(recipe), Sampler(recordings, recipe)
    groups = parameter_groups(model, recipe.weight_decay)
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=recipe.steps, pct_start=0.1
    )
    start, seen, right = time.monotonic(), 0, 0
    for step in range(1, recipe.steps + 1):
        x, y = sampler.batch()
        spikes = unrolled.forward(model, x, recipe.drop)
        counts = spikes["output"].sum(0)
        loss = objective(spikes, counts, y, recipe)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        keep_valid(model)
        seen, right = seen + len(y), right + int((counts.argmax(1) == y).sum())
        if step % 50 == 0:
            elapsed = time.monotonic() - start
            accuracy = 100 * right / seen
            print(f"step {step:5d}  {elapsed:5.0f} s  {accuracy:5.1f} % of batches", flush=True)
            seen = right = 0
    return model


def objective(spikes: dict[str, Tensor], counts: Tensor, y: Tensor, recipe: Recipe) -> Tensor:
    """Cross-entropy of spike counts ``[B, classes]``, and a price on busy populations."""
    logits = counts * recipe.logit_per_spike
    loss = F.cross_entropy(logits, y, label_smoothing=recipe.label_smoothing)
    rates = torch.stack([s.mean() for name, s in spikes.items() if name != "output"])
    return loss + recipe.rate_weight * F.relu(rates - recipe.rate_target).square().sum()


def parameter_groups(model: L2MU, weight_decay: float) -> list[dict]:
    """Weight matrices decay; biases, thresholds and betas do not."""
    matrices = [p for p in model.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if p.ndim != 2]
    return [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


@torch.no_grad()
def keep_valid(model: L2MU) -> None:
    """Betas back into [0, 0.995], thresholds to at least 0.05."""
    for name, parameter in model.named_parameters():
        if name.endswith("beta"):
            parameter.clamp_(0.0, 0.995)
        elif name.endswith("threshold"):
            parameter.clamp_(min=0.05)


@torch.no_grad()
def predict(model: L2MU, x: np.ndarray) -> tuple[np.ndarray, dict[str, float]]:
    """Classes of windows ``[N, T, 6]`` and every population's mean spikes per neuron and step."""
    spikes = unrolled.forward(model, torch.from_numpy(x).transpose(0, 1).contiguous())
    rates = {name: float(s.mean()) for name, s in spikes.items()}
    return spikes["output"].sum(0).argmax(1).numpy(), rates


def report(
    title: str, model: L2MU, recordings: list[data.Recording], people: tuple[int, ...]
) -> None:
    """Print accuracy on all windows of ``people`` and spike rates."""
    x, y, person = data.windows(recordings, people)
    predicted, rates = predict(model, x)
    summarise(title, predicted, y, person)
    print_rates(rates)


def summarise(title: str, predicted: np.ndarray, y: np.ndarray, person: np.ndarray) -> None:
    """Print the accuracy, and that of each person and class; all arrays ``[N]``."""
    right = predicted == y
    people = (f"person {p} {100 * right[person == p].mean():.1f} %" for p in np.unique(person))
    classes = (f"{name} {100 * right[y == c].mean():.0f} %" for c, name in enumerate(data.CLASSES))
    print(f"{title}: {100 * right.mean():.2f} % of {len(y)} windows")
    print("   ", ", ".join(people))
    print("   ", ", ".join(classes))


def print_rates(rates: dict[str, float]) -> None:
    """Print mean spikes per neuron and step of every population."""
    text = ", ".join(f"{name} {100 * rate:.1f} %" for name, rate in rates.items())
    print("    spike rates:", text, flush=True)


@torch.no_grad()
def evaluate(folder: Path) -> None:
    """Print what the saved checkpoint, run as the package's own module, makes of heldout.npz."""
    saved = torch.load(folder / "har.ckpt", weights_only=True)
    model = L2MU(L2MUConfig.from_dict(saved["config"]))
    model.load_state_dict(saved["state_dict"])
    with np.load(folder / "heldout.npz") as heldout:
        x, y, person = heldout["x"], heldout["y"], heldout["person"]
    predicted = model(torch.from_numpy(x).transpose(0, 1)).sum(0).argmax(1).numpy()
    summarise("held out", predicted, y, person)
    print_rates(predict(model, x)[1])


def save(model: L2MU, path: Path) -> None:
    """The checkpoint, readable with ``torch.load(..., weights_only=True)``."""
    values = {"config": model.config.to_dict(), "state_dict": model.state_dict()}
    torch.save({"format": "l2mu-compile", "version": 1, **values}, path)


def export_training(
    recordings: list[data.Recording], folder: Path, copies: int, recipe: Recipe
) -> None:
    """``train.npz``: all windows of people 1-8, each with its person as ``group``, and for each of
    them so many ``copies``: other windows, augmented as those the checkpoint was trained on."""
    recordings = [r for r in recordings if r.person in data.TRAINING_PEOPLE]
    x, y, person = data.windows(recordings, data.TRAINING_PEOPLE)
    sampler = Sampler(recordings, recipe)
    chosen = [recordings[i] for i in sampler.choose(copies * len(x))]
    more = [data.rounded(sampler.window(r.x)) for r in chosen]
    np.savez_compressed(
        folder / "train.npz",
        x=np.concatenate([x, np.stack(more)]) if more else x,
        y=np.concatenate([y, np.array([r.y for r in chosen], dtype=y.dtype)]),
        group=np.concatenate([person, np.array([r.person for r in chosen], dtype=person.dtype)]),
        classes=np.array(data.CLASSES),
    )


def export(recordings: list[data.Recording], folder: Path) -> None:
    """``calibration.npz``: windows of people 1-8; ``heldout.npz``: all windows of 9 and 10."""
    x, y, _ = data.windows(recordings, data.TRAINING_PEOPLE)
    random = np.random.default_rng(0)
    classes = range(len(data.CLASSES))
    some = [random.choice(np.flatnonzero(y == c), CALIBRATION_PER_CLASS, False) for c in classes]
    chosen = np.sort(np.concatenate(some))
    names = np.array(data.CLASSES)
    np.savez_compressed(folder / "calibration.npz", x=x[chosen], y=y[chosen], classes=names)
    x, y, person = data.windows(recordings, data.HELDOUT_PEOPLE)
    np.savez_compressed(folder / "heldout.npz", x=x, y=y, person=person)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="watch_dataset.npy (default: from seglearn)")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the files written")
    parser.add_argument("--export-only", action="store_true", help="write only the two .npz files")
    parser.add_argument(
        "--export-training", action="store_true", help="write only train.npz, for l2mu-compile tune"
    )
    parser.add_argument(
        "--copies", type=int, default=0, help="augmented windows for each of train.npz"
    )
    parser.add_argument("--evaluate", action="store_true", help="only evaluate har.ckpt")
    parser.add_argument("--validate", default="", help="people among 1-8 to hold out, such as 7,8")
    parser.add_argument("--checkpoint", type=Path, help="with --validate: keep that model there")
    for f in fields(Recipe):
        option = "--" + f.name.replace("_", "-")
        parser.add_argument(option, type=type(f.default), default=f.default)
    options = parser.parse_args()
    options.validate = tuple(int(p) for p in options.validate.split(",") if p)
    if options.checkpoint and not options.validate:
        parser.error("--checkpoint goes with --validate; the final one is har.ckpt in --out")
    if not set(options.validate) <= set(data.TRAINING_PEOPLE):
        parser.error("--validate takes people among 1-8; 9 and 10 are for the final evaluation")
    return options


def main() -> None:
    options = arguments()
    torch.set_num_threads(1)  # fastest at these sizes, and the same numbers on every run
    if options.evaluate:
        evaluate(options.out)
        return
    recipe = Recipe(**{f.name: getattr(options, f.name) for f in fields(Recipe)})
    recordings = data.load(options.data)
    if options.export_training:
        export_training(recordings, options.out, options.copies, recipe)
        return
    if not options.validate:
        export(recordings, options.out)
    if options.export_only:
        return
    people = tuple(p for p in data.TRAINING_PEOPLE if p not in options.validate)
    model = train([r for r in recordings if r.person in people], recipe)
    report("training people", model, recordings, people)
    if options.validate:
        report("validation", model, recordings, options.validate)
        if options.checkpoint:
            save(model, options.checkpoint)
        return
    save(model, options.out / "har.ckpt")
    evaluate(options.out)


if __name__ == "__main__":
    main()
