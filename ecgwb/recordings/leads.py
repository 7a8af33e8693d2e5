"""The names of leads: what recorders, standards and languages call them, and when a name is not to be believed.

A name is taken apart into words around a lead ("Lead", "ECG", "Ableitung", a unit) and the lead itself, which must be
in a table to the letter. What is in no table is no lead: "V10", "I1" and "ECG1" stay what they are.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache

LEADS = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
"""The eight independent leads, in the order every cohort and network uses."""
LEADS12 = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
TURNED_AVR = "-aVR"
"""Cabrera's: aVR upside down."""
OTHER_LEADS = (
    *("X", "Y", "Z"),  # Frank's
    *("V7", "V8", "V9", "V2R", "V3R", "V4R", "V5R", "V6R", "V7R", "V8R", "V9R", TURNED_AVR),
    *("MLI", "MLII", "MLIII", "MV1", "MV2", "MV5", "MCL1", "MCL6", "CM2", "CM4", "CM5", "CC5"),  # of monitors
)
"""Leads that are kept under their own names; none of them stands for one of the twelve."""

_SPELLINGS = (
    {name.lower(): name for name in (*LEADS12, *OTHER_LEADS)}
    | {
        **{f"d{roman}": roman.upper() for roman in ("i", "ii", "iii")},  # Portuguese, Spanish, French
        **{f"v{x}": f"aV{x.upper()}" for x in "rlf"},
        **{f"v{x}": x.upper() for x in "xyz"},
        **{f"{minus}avr": TURNED_AVR for minus in ("minus ", "inv ", "inverted ", "n")},
        # IEEE 11073's numbers of MDC_ECG_ELEC_POTL_I and so on
        **{str(131329 + k): name for k, name in enumerate(LEADS)},
        **{str(131389 + k): name for k, name in enumerate(LEADS12[2:6])},
    }
)
# These also name other things: C3 and C4 are places of an EEG, D1 to D8 digital channels. All of them together, and
# with what else a recording of 12 leads has, they are leads.
_CHEST = {f"c{k}": f"V{k}" for k in range(1, 7)}
_LIMB = {"d1": "I", "d2": "II", "d3": "III"}

_BEFORE = re.compile(
    r"(?:mdc_ecg_(?:lead|elec_potl)_|(?:e[ck]g|leads?|abl(?:eitung(?:en)?)?|brustwand(?:ableitung)?"
    r"|extremitätenableitung|d[ée]riv(?:ation|aci[óo]n|a[çc][ãa]o|azione)?|avledning|afleiding|odprowadzenie|отведение)"
    r"(?:[\s_.:]+|-(?=\w)|(?=[iavdc])))"
)
_AFTER = re.compile(
    r"(?:[\s_,;/(\[]+(?:einthoven|goldberger|wilson|frank|augmented voltage,? (?:right|left|foot)|[munμ]v"
    r"|rhythm(?: strip)?|(?:micro|milli|nano)volts?)[)\]]?|\s*(?:导联|導聯|誘導))+$"
)


def standard_lead(name: str) -> str:
    """The standard spelling of a lead ("AVR" and "Lead aVR" are "aVR"); an unknown name stays as it is."""
    return _SPELLINGS.get(_core(name), str(name).strip())


def is_lead(name: str) -> bool:
    """Whether a standard spelling is that of a lead."""
    return name in LEADS12 or name in OTHER_LEADS


def standard_leads(names: Sequence[str]) -> tuple[str, ...]:
    """The standard spellings of a recording's channels.

    C1 to C6 and D1 to D3 are leads only where they are all there and their neighbours say so.
    """
    out = [standard_lead(name) for name in names]
    cores = [_core(name) for name in names]
    if set(_LIMB) <= set(cores) and not {"d4", *("i", "ii", "iii")} & set(cores):
        out = [_LIMB.get(core, name) for core, name in zip(cores, out, strict=True)]
    if set(_CHEST) <= set(cores) and "cz" not in cores and {"I", "II"} <= set(out) and "V1" not in out:
        out = [_CHEST.get(core, name) for core, name in zip(cores, out, strict=True)]
    return tuple(out)


def told_leads(names: Sequence[str], told: Mapping[str, str | None] | Sequence[str | None] | None) -> tuple[str, ...]:
    """The leads of channels as the caller says, and as their names say where he does not.

    Parameters
    ----------
    names : sequence of str
        The channels' names in the file.
    told : mapping or sequence of str, optional
        {name in the file: lead}, or the leads of all channels in their order; None for a channel that is no lead.

    Returns
    -------
    tuple of str
        Names of no lead stay as they are; "" where the caller says that a channel is none.

    Raises
    ------
    ValueError
        When a name is not in the file or a lead unknown. The message lists what there is.
    """
    if told is None:
        return standard_leads(names)
    have = ", ".join(map(repr, names)) if any(names) else f"{len(names)} channels without names"
    if isinstance(told, str) or not isinstance(told, (Mapping, Sequence)):
        raise ValueError(
            f"leads is {told!r}; expected {{name in the file: lead}}, or a list of leads. The file has {have}"
        )
    wanted = list(told.values()) if isinstance(told, Mapping) else list(told)
    for lead in wanted:
        if lead is not None and not (isinstance(lead, str) and is_lead(standard_lead(lead))):
            raise ValueError(f"leads names {lead!r}; expected one of {', '.join((*LEADS12, *OTHER_LEADS))}")
    if not isinstance(told, Mapping):
        if len(wanted) != len(names):
            raise ValueError(f"leads names {len(wanted)} channels; the file has {len(names)}: {have}")
        return tuple("" if lead is None else standard_lead(lead) for lead in wanted)
    spelled = {_plain(name): lead for name, lead in told.items()}
    lacking = [name for name in told if _plain(name) not in set(map(_plain, names))]
    if lacking:
        raise ValueError(f"leads names the channel {lacking[0]!r}, which the file has not; it has {have}")
    out = []
    for name, understood in zip(names, standard_leads(names), strict=True):
        lead = spelled.get(_plain(name), understood)
        out.append("" if lead is None else standard_lead(lead))
    return tuple(out)


def _plain(name: object) -> str:
    """In lower case, Roman numerals and hyphens of one kind, without space around."""
    return " ".join(unicodedata.normalize("NFKC", str(name)).replace("\u2212", "-").lower().split())


def _core(name: object) -> str:
    """A name without the words around its lead: "i" of "ECG Lead I (Einthoven)"."""
    return _core_of(str(name))


@lru_cache(maxsize=1024)  # every recording has the same names
def _core_of(name: str) -> str:
    text = _plain(name)
    while (before := _BEFORE.match(text)) and before.end() < len(text):
        text = text[before.end() :]
    text = _AFTER.sub("", text)
    return re.sub(r"(?<=^a)[\s_]+(?=v)|(?<=v)[\s_]+(?=[rlf\d])", "", text.strip("\"' _.:"))
