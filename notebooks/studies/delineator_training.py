"""Training of the delineator on LUDB: folds by person, one net for use, its card.

Run as ``python -m studies.delineator_training`` from ``notebooks``. Everything random follows from the seed and the
step, so that a run that was interrupted goes on as if it had not been.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
from collections.abc import Iterable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors.torch
import torch
import torch.nn.functional as F
from studies.delineator_examples import Person, examples, load_people
from studies.landmark_scores import score_landmarks
from torch import Tensor
from tqdm import tqdm

from ecgwb.cohorts.sources import unpack
from ecgwb.delineation.annotations import OUT_OF_FOLD, UNKNOWN, read_annotations
from ecgwb.delineation.landmarks import WAVES
from ecgwb.delineation.network import ALONE, EXCLUSIVE, WEIGHTS, Delineator
from ecgwb.delineation.waves import delineate_with
from ecgwb.recordings.reading import read_record
from ecgwb.recordings.record import LEADS12, Record, pick_leads

N_FOLDS = 5
STEPS = 4800


def loss_of(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy of the classes, of P, and half that of the peaks; mean over the samples that are known."""
    classes = -(target[:, :, EXCLUSIVE] * logits[:, :, EXCLUSIVE].log_softmax(2)).sum(2)
    alone = F.binary_cross_entropy_with_logits(logits[:, :, ALONE], target[:, :, ALONE], reduction="none")
    share = torch.tensor([1.0, 0.5, 0.5, 0.5])[:, None]
    return ((classes + (alone * share).sum(2)) * weight).sum() / weight.sum().clamp_min(1.0)


def fit(
    people: list[Person], out: Path, seed: int, steps: int, label: str, stop_at: int | None = None, **net
) -> Delineator:
    """Train one network, or go on where ``out/label.pt`` stopped.

    Parameters
    ----------
    people : list of Person
    out : Path
        Folder of the checkpoint, which is written every 500 steps and at the end.
    seed, steps : int
    label : str
        Name of the checkpoint.
    stop_at : int, optional
        Leave off after so many steps, as if interrupted.
    **net
        Of `Delineator`.

    Returns
    -------
    Delineator
        With the moving average of the trained network's weights.
    """
    torch.manual_seed(seed)
    model = Delineator(**net)
    mean = deepcopy(model).eval()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1.0, weight_decay=0.02, betas=(0.9, 0.98))
    parts: dict[str, Any] = {"model": model, "mean": mean, "optimiser": optimiser}
    file, first, last = out / f"{label}.pt", 0, stop_at or steps
    if file.is_file():
        saved = torch.load(file, weights_only=True)
        first = saved["step"]
        for name, part in parts.items():
            part.load_state_dict(saved[name])
    running = 0.0
    for step in (bar := tqdm(range(first, last), initial=first, total=steps, desc=label, mininterval=10)):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, steps)
        signal, target, weight = examples(people, np.random.default_rng([seed, step]))
        model.train()
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(signal)
        loss = loss_of(logits.float(), target, weight)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        average_into(mean, model, keep=min(1 - 1 / (step + 2), 0.998))
        running = 0.98 * running + 0.02 * loss.item()
        if step % 20 == 0:
            bar.set_postfix(loss=f"{running / (1 - 0.98 ** (step - first + 1)):.4f}")
        if (step + 1) % 500 == 0 or step + 1 == last:
            state = {name: part.state_dict() for name, part in parts.items()}
            torch.save(state | {"step": step + 1}, file.with_suffix(".tmp"))
            os.replace(file.with_suffix(".tmp"), file)
    return mean


def learning_rate(step: int, steps: int) -> float:
    """Warms up over 200 steps, holds, and falls to nothing over the last third."""
    return 3e-3 * min((step + 1) / 200, 1.0, 3 * (steps - step) / steps)


@torch.no_grad()
def average_into(mean: Delineator, model: Delineator, keep: float) -> None:
    """Moves `mean` towards `model`, of which it keeps the share `keep`; counters are copied."""
    for a, b in zip(mean.state_dict().values(), model.state_dict().values(), strict=True):
        a.lerp_(b, 1 - keep) if a.is_floating_point() else a.copy_(b)


def train(out: Path, folder: Path, seed: int, steps: int, folds: Iterable[str]) -> None:
    """Train the networks of `folds` ("0" to "4", each without its fold's people, or "all"), into ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    people = load_people(folder)
    for fold in folds:
        fit([p for p in people if str(p.number % N_FOLDS) != fold], out, seed, steps, f"delineator-{fold}")


def ship(out: Path, folder: Path, weights: Path, seed: int, steps: int) -> pd.DataFrame:
    """From six trained networks: the weights, LUDB's out-of-fold waves and the model card. Returns the scores."""
    paths = sorted(folder.glob("*.hea"), key=lambda p: int(p.stem))
    found = out_of_fold(out, paths)
    scores = score_landmarks(found, pd.concat([read_annotations(p) for p in paths]))
    weights.mkdir(parents=True, exist_ok=True)
    save_out_of_fold(found, weights / OUT_OF_FOLD.name)
    file = weights / "delineator.safetensors"
    # Half precision keeps the file small; the network computes in single precision.
    state = {k: v.half() if v.is_floating_point() else v for k, v in trained(out, "all").state_dict().items()}
    safetensors.torch.save_file(state, file, {"net": json.dumps({}), "seed": str(seed), "steps": str(steps)})
    fibrillating = [p.stem for p in paths if re.search("fibrillation|flutter", p.read_text().lower())]
    waves = found.loc[found["record"].isin(fibrillating), "wave"].value_counts()
    card = CARD.format(
        scores=_markdown(scores),
        alone=", ".join(f"{' and '.join(leads)} {share:.0f} %" for leads, share in alone(out, paths).items()),
        n_fibrillation=len(fibrillating),
        p_share=100 * waves.get("P", 0) / waves["QRS"],
        parameters=sum(p.numel() for p in Delineator().parameters()),
        seed=seed,
        steps=steps,
        threads=torch.get_num_threads(),
        sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        torch=torch.__version__.split("+")[0],
        numpy=np.__version__,
    )
    (weights / "delineator.md").write_text(card)
    return scores


def trained(out: Path, fold: str) -> Delineator:
    """The network of a fold ("0" to "4", or "all"), from its checkpoint."""
    model = Delineator()
    model.load_state_dict(torch.load(out / f"delineator-{fold}.pt", weights_only=True)["mean"])
    return model.eval()


def alone(out: Path, paths: list[Path]) -> dict[tuple[str, ...], float]:
    """Of P waves, how many (%) are found where some leads are all that there is, out of fold."""
    manual = pd.concat([read_annotations(p) for p in paths])
    shares: dict[tuple[str, ...], float] = {}
    for leads in (("I",), ("II",), ("V1",), ("V5",), ("I", "II"), ("II", "V1")):
        scores = score_landmarks(out_of_fold(out, paths, leads), manual[manual["lead"].isin(leads)])
        shares[leads] = scores["se"].to_dict()["P_peak"]
    return shares


def out_of_fold(out: Path, paths: list[Path], leads: Sequence[str] = LEADS12) -> pd.DataFrame:
    """LUDB's waves, each person's by the network that has not seen the person, in the order of the records."""

    def read(path: Path) -> Record:
        return pick_leads(read_record(path), leads)

    folds = {str(k): [read(p) for p in paths if int(p.stem) % N_FOLDS == k] for k in range(N_FOLDS)}
    waves = pd.concat([delineate_with(trained(out, fold), records) for fold, records in folds.items()])
    return waves.sort_values("record", key=lambda r: r.astype(int), kind="stable", ignore_index=True)


def save_out_of_fold(table: pd.DataFrame, path: Path) -> None:
    """Store a table of LUDB's waves small enough to ship; `ludb_out_of_fold` reads it."""

    def tenths(ms: pd.Series) -> np.ndarray:
        return (10 * ms).round().fillna(UNKNOWN).to_numpy(np.uint16)

    np.savez_compressed(
        path,
        record=table["record"].astype(np.uint8),
        lead=table["lead"].map(LEADS12.index).astype(np.uint8),
        wave=table["wave"].map(list(WAVES).index).astype(np.uint8),
        peak=(10 * table["peak_ms"]).round().to_numpy(np.int32),
        before=tenths(table["peak_ms"] - table["onset_ms"]),
        after=tenths(table["offset_ms"] - table["peak_ms"]),
    )


CARD = """# Model card: the wave delineator

**What it does.** Finds onset, peak and offset of P waves, QRS complexes and T waves in each lead of an ECG, with the
record's other leads as context; any number of leads, in any order, under any names. {parameters:,} parameters, a
one-dimensional U-Net at 250 Hz (`ecgwb/delineation/network.py`). Used by `ecgwb.delineate`.

**Trained on** the Lobachevsky University Electrocardiography Database (LUDB) 1.0.1: 200 people, 12 leads, 10 s,
500 Hz, waves marked by cardiologists in every lead. Kalyakulina A.I. et al., IEEE Access 8:186181 (2020),
doi 10.1109/ACCESS.2020.3029211; on PhysioNet, doi 10.13026/eegm-h675. Licence of the data: Open Data Commons
Attribution License 1.0 (ODC-By); this notice is the attribution. The samples between a lead's first and last mark
were used, those of first and last beats, which LUDB leaves unmarked, were not.

**Folds.** By person: fold = record number % 5. `delineator-ludb-oof.npz` holds the waves of all 200 people, each from
a network that has not seen the person (`ecgwb.delineation.ludb_out_of_fold`). The weights here were trained on all 200
in the same way, so that on LUDB itself they look better than they are.

**Scores**, out of fold, all 200 people and 12 leads, each lead on its own, points matched within 150 ms; errors are
found - manual, in ms; Se and PPV in %:

{scores}

Each lead had the others as context. Without them P is often lost; where these leads are all there is, out of fold, so
many P waves are found: {alone}.

In LUDB's {n_fibrillation} records of atrial fibrillation or flutter, P waves were reported for {p_share:.1f} %
of beats.

**Made by** `python -m studies.delineator_training --seed {seed} --steps {steps} --threads {threads}`: AdamW, a
learning rate that falls to nothing over the last third, a moving average of the weights, bfloat16 convolutions in
training. Augmentation: polarity, gain, noise, wander, mains, bandwidth, stretch of time, pacing spikes, fibrillation
put in, leads left out or off; pauses shortened until P follows T, P moved earlier by up to 260 ms, also onto T, P made
smaller, T made smaller, turned over or taken off. torch {torch}, numpy {numpy}; the same seed, versions, threads and
processor give the same weights. They are stored in half precision.

sha256 of `delineator.safetensors`: `{sha256}`

**Choices that saw people it is scored on.** The design was tried on fold 0. How far the foot of a probability counts
(`TAIL`) was chosen on folds 0 and 3 and moves no SD by more than 0.1 ms. The rule that keeps only sure P waves where
most beats have none, or where P waves stand at all distances from QRS, was chosen on folds 0 and 3.

**Meant for** research and teaching: intervals and landmarks of resting ECGs, the alignment of attention. Not a
medical device; not for decisions about patients.

**Limits.** Marks carry the habits of LUDB's cardiologists: the earliest or latest of twelve leads is not a global
interval. Adults at rest; no children, exercise, or ventricular tachycardia to learn from; LUDB has few paced and
few flutter records. U waves are no part of T. Flutter waves and fibrillation are meant to have no P wave, but
organised ones can be taken for it. Below 100 Hz or with the bandwidth of a monitor, boundaries blur. LUDB lacks
ethnicity and ancestry, and nothing is known of differences between groups.
"""


def _markdown(scores: pd.DataFrame) -> str:
    head = "| point | n | Se | PPV | mean | SD | SD within a person (median) | 95th percentile |\n" + "|---" * 8 + "|"
    rows = []
    for point, (n, se, ppv, mean, *spread) in zip(scores.index, scores.to_numpy().tolist(), strict=True):
        found = "" if np.isnan(ppv) else f"{ppv:.2f}"
        rows.append(
            f"| {point} | {n:.0f} | {se:.2f} | {found} | {mean:+.2f} | " + " | ".join(f"{x:.1f}" for x in spread) + " |"
        )
    return "\n".join([head, *rows])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.delineator_training", description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("runs/delineator"), help="checkpoints; an interrupted run resumes"
    )
    parser.add_argument("--ludb", type=Path, help="LUDB's data folder; default: unpacked from the package")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--folds", default="0,1,2,3,4,all", help="networks to train now; the weights need all six")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="where weights, out-of-fold waves and card go")
    parser.add_argument("--threads", type=int, help="of torch; part of what makes a run repeatable to the bit")
    args = parser.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    folder = args.ludb or unpack("ludb") / "data"
    train(args.out, folder, args.seed, args.steps, args.folds.split(","))
    print(ship(args.out, folder, args.weights, args.seed, args.steps).round(2).to_string())


if __name__ == "__main__":
    main()
