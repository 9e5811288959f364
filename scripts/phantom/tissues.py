"""Signal of each tissue, CSF = 1 on T2, by weighting."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from .fields import clamp


@dataclass(frozen=True)
class Tissues:
    """Relative signal of each tissue."""

    csf: float
    white_matter: float
    grey_matter: float
    body: float
    disc: float
    annulus: float
    cortex: float
    ligament: float
    fat: float
    muscle: float
    air: float
    vessel: float
    mucosa: float
    thyroid: float
    root: float
    facet: float
    epidural: float
    skin: float
    cartilage: float
    wall: float  # of vessels and organs
    gland: float


# T2 turbo spin echo: fat stays bright, flowing blood is dark
TSE = Tissues(
    csf=1.0,
    white_matter=0.36,
    grey_matter=0.45,
    body=0.33,
    disc=0.22,
    annulus=0.12,
    cortex=0.06,
    ligament=0.10,
    fat=1.12,
    muscle=0.17,
    air=0.03,
    vessel=0.04,
    mucosa=0.42,
    thyroid=0.5,
    root=0.5,
    facet=0.36,
    epidural=0.75,
    skin=0.35,
    cartilage=0.25,
    wall=0.45,
    gland=0.6,
)
# T2*-weighted gradient echo: bone is dark, blood flows bright, the cord is close to CSF
GRE = Tissues(
    csf=1.0,
    white_matter=0.62,
    grey_matter=0.78,
    body=0.12,
    disc=0.55,
    annulus=0.4,
    cortex=0.04,
    ligament=0.35,
    fat=0.42,
    muscle=0.45,
    air=0.03,
    vessel=1.2,
    mucosa=0.6,
    thyroid=0.6,
    root=0.75,
    facet=0.12,
    epidural=0.6,
    skin=0.4,
    cartilage=0.3,
    wall=0.5,
    gland=0.6,
)
T1 = Tissues(
    csf=0.16,
    white_matter=0.50,
    grey_matter=0.43,
    body=0.58,
    disc=0.36,
    annulus=0.26,
    cortex=0.05,
    ligament=0.18,
    fat=1.15,
    muscle=0.36,
    air=0.03,
    vessel=0.05,
    mucosa=0.42,
    thyroid=0.48,
    root=0.38,
    facet=0.6,
    epidural=0.7,
    skin=0.35,
    cartilage=0.3,
    wall=0.4,
    gland=0.5,
)
STIR = Tissues(
    csf=1.0,
    white_matter=0.38,
    grey_matter=0.48,
    body=0.14,
    disc=0.2,
    annulus=0.12,
    cortex=0.05,
    ligament=0.09,
    fat=0.09,
    muscle=0.24,
    air=0.03,
    vessel=0.06,
    mucosa=0.7,
    thyroid=0.6,
    root=0.55,
    facet=0.14,
    epidural=0.3,
    skin=0.3,
    cartilage=0.3,
    wall=0.4,
    gland=0.6,
)
WEIGHTINGS = {"tse": TSE, "gre": GRE, "t1": T1, "stir": STIR}


def sample_tissues(rng: np.random.Generator, weighting: str, contrast: float) -> Tissues:
    """Vary a weighting's tissues by 7 % each; ``contrast`` below 1 brings cord and muscle closer to CSF."""
    table = WEIGHTINGS[weighting]
    values = {f.name: getattr(table, f.name) * float(np.exp(rng.normal(0, 0.07))) for f in fields(table)}
    values["csf"] = clamp(values["csf"], 0.85 * table.csf, 1.15 * table.csf)
    ratio = table.grey_matter / table.white_matter
    values["grey_matter"] = values["white_matter"] * (1 + (ratio - 1) * float(rng.uniform(0.55, 1.5)))
    for name in ("white_matter", "grey_matter", "muscle", "body", "facet", "disc"):
        values[name] /= contrast
    return Tissues(**values)
