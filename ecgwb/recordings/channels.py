"""What a file holds, as any format says it; and the one way from there to a `Record` in µV.

A reader of a format gives `Channels`; `to_record` chooses the ECG leads, brings them to µV and notes what was left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from .record import LIMB_TOLERANCE, Record, RecordError, limb_error

UV_PER_UNIT = {"nv": 1e-3, "uv": 1.0, "mv": 1e3, "v": 1e6}
"""Of units that are voltages, in lower case; micro is "u"."""


class Told(NamedTuple):
    """What the caller says of files that do not say it themselves, or say it in other words.

    Parameters
    ----------
    leads : mapping or sequence of str, optional
        {name in the file: lead}, or, for files without names, the leads in their order.
    fs : float, optional
        Hz.
    unit : str, optional
        Such as "mV".
    """

    leads: Mapping[str, str] | Sequence[str] | None = None
    fs: float | None = None
    unit: str | None = None


NOTHING_TOLD = Told()


@dataclass(frozen=True)
class Channels:
    """One recording as its file holds it.

    Parameters
    ----------
    signal : array (channel, sample)
        In `units`; NaN where a sample is missing.
    fs : float
        Hz.
    names, units : sequence of str
        One a channel, as the file spells them.
    metadata : dict
        What a cohort keeps: age (years), sex ("male", "female"), patient (a pseudonym, never the file's own number),
        diagnosis, rhythm, device, site; ``measured``, the file's own pr, qrs, qt (ms) and hr (bpm); ``flags``, a list
        of doubts. No names, no dates.
    median : Channels, optional
        The representative beat that the recorder made, where the file has one.
    """

    signal: np.ndarray
    fs: float
    names: tuple[str, ...]
    units: tuple[str, ...]
    metadata: dict[str, Any] = field(default_factory=dict)
    median: Channels | None = None


def to_record(channels: Channels, record_id: str, told: Told = NOTHING_TOLD) -> Record:
    """The ECG leads of a recording, in µV.

    Raises
    ------
    RecordError
        When no channel is an ECG lead.
    """
    units = [str(u).lower().replace("µ", "u").replace("μ", "u") for u in channels.units]
    unknown = sorted({u for u in units if u not in UV_PER_UNIT})
    if unknown:
        raise RecordError(f"record {record_id!r}: unit {unknown[0]!r} is not a voltage (mV, uV or V)")
    with np.errstate(over="ignore"):
        signal = channels.signal * np.array([UV_PER_UNIT[u] for u in units])[:, None]
    flags = list(channels.metadata.get("flags", []))
    record = Record(signal, channels.fs, channels.names, record_id, channels.metadata)
    error = limb_error(record.signal, record.leads)
    if error > LIMB_TOLERANCE:
        flags.append(f"limb leads disagree: they break II = I + III by {100 * error:.0f} % of their size")
    record.metadata["flags"] = flags
    if channels.median is None:
        return record
    try:
        return replace(record, median=to_record(channels.median, record_id, told))
    except RecordError as e:
        flags.append(f"the file's own representative beat cannot be used: {str(e).partition(': ')[2] or e}")
        return record
