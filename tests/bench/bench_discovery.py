"""How long `wb.discover` takes, beside what it may take: python tests/bench/bench_discovery.py

2,000 people with the pooled network, which is trained then and there, and all of PTB-XL with the shipped network for
sex, tested on fold 10 and on LUDB.
"""

import numpy as np
import pandas as pd

import ecgwb as wb

LIMITS_S = {"2,000 people, pooled network": 120, "PTB-XL and LUDB, compact-sex": 300}


def main():
    everyone, ludb = wb.open_cohort("ptbxl"), wb.open_cohort("ludb")
    fold = everyone["fold"].values
    some = everyone.isel(record=np.flatnonzero((fold <= 8) | (fold == 10))[:2000]).load()
    made = [
        wb.discover(some, "male", network="pooled network", progress=False),
        wb.discover(everyone, "male", replication=ludb, progress=False),
    ]
    rows = [
        {
            "what": what,
            **found.seconds,
            "seconds": sum(found.seconds.values()),
            "of the limit": sum(found.seconds.values()) / limit,
        }
        for (what, limit), found in zip(LIMITS_S.items(), made, strict=True)
    ]
    print(pd.DataFrame(rows).set_index("what").T.round(2).to_string())


if __name__ == "__main__":
    main()
