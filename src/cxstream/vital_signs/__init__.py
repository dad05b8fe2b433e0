"""The catalogue: one file per vital sign, each with a `VITAL_SIGN`; what is in the folder is in the catalogue."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Collection
from typing import get_args

from cxstream.domain.vital_sign import Signs, Tier, VitalSign


def catalogue() -> Signs:
    """Return every vital sign of this folder by name, in order of name."""
    signs = Signs()
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        sign: VitalSign = importlib.import_module(f"{__name__}.{module.name}").VITAL_SIGN
        if sign.name != module.name:
            message = f"vital sign {sign.name!r} lives in {module.name}.py: name the file after the sign"
            raise ValueError(message)
        signs[sign.name] = sign
    return signs


TIERS: tuple[Tier, ...] = get_args(Tier)

CATALOGUE = catalogue()
"""Every vital sign there is, of all tiers."""


def of_tiers(tiers: Collection[str]) -> Signs:
    """Return the vital signs of these tiers by name, in order of name."""
    return Signs({name: sign for name, sign in CATALOGUE.items() if sign.tier in tiers})


TIER_A = of_tiers(("A",))
"""The product: what is judged and published unless the settings say otherwise."""
