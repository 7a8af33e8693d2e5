"""The sex table as notebook 05 shows it."""

from __future__ import annotations

import json

from exhibits import network_exhibits
from exhibits.beat_exhibits import Shown
from studies.sex_table import FOLDER, sex_table


def sex() -> Shown:
    """The sex table, with features from attention where ``make sex-table`` has been run."""
    file = FOLDER / "sex-campaign.json"
    return network_exhibits.sex_exhibit(sex_table(json.loads(file.read_text()) if file.is_file() else None)[0])
