"""Rare findings beside the lesions: what a patient has, what went wrong in the scan, and which slices show it.

None of it depends on the lesions, so no finding tells the label, and a twin has the same findings. How often and how
large findings are is our choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from .fields import Array, clamp

SHARES = {"spondylolisthesis": 0.05, "syrinx": 0.04, "haemangioma": 0.06, "hardware": 0.04}  # of patients
ARTEFACT_SHARES = {"motion": 0.05, "swallowing": 0.08, "fat_saturation_failed": 0.20}
SLIP_AGE = 57.3  # slips become more frequent by 3 % a year; at this age they have their share
SLIP_DISCS = ((1, 2, 3, 4), (0.35, 0.40, 0.18, 0.07))  # C3/C4 ... C6/C7 and how often
RAMP_MM = 3.0  # half height over which canal and body step forward
SLIP_REACH_MM = 4.0  # half height over which a slip narrows the canal
IMPLANT_SPANS = ((3, 4), (4, 5), (3, 5))  # outermost vertebrae, 1 C3 ... 5 C7
IMPLANT_SPAN_SHARES = (0.45, 0.30, 0.25)
IMPLANT_KINDS = {"plate": 0.60, "cage": 0.20, "screws": 0.20}
SCREW_MM, CAGE_MM, PLATE_END_MM = 2.4, 3.2, 4.0  # half heights, and how far a plate runs past its outer screws
SWALLOWED_SHARE = 0.5  # of the slices of a series during which the patient swallowed
MOST_SLICES = 64


@dataclass(frozen=True)
class Slip:
    """Spondylolisthesis: everything above a disc lies forward of what is below it; lengths in mm."""

    disc: int  # 0 C2/C3 ... 5 C7/T1
    z_mm: float  # of the disc
    slip_mm: float

    def forward_mm(self, z_mm: float) -> float:
        """Return how far canal and bodies at height ``z_mm`` lie forward."""
        t = clamp(0.5 + 0.5 * (z_mm - self.z_mm) / RAMP_MM, 0, 1)
        return self.slip_mm * t * t * (3 - 2 * t)

    def narrowing_mm(self, z_mm: float) -> float:
        """Return how much narrower the step makes the canal at height ``z_mm``, half of it from the front."""
        return self.slip_mm * max(1 - abs(z_mm - self.z_mm) / SLIP_REACH_MM, 0.0)


@dataclass(frozen=True)
class Syrinx:
    """A cavity in the middle of the cord, filled with fluid."""

    z_mm: float  # of its middle
    half_height_mm: float
    greatest_width_mm: float

    def width_mm(self, z_mm: float) -> float:
        """Return the width at height ``z_mm``; the ends taper."""
        t = abs(z_mm - self.z_mm) / self.half_height_mm
        return self.greatest_width_mm * max(1 - t**4, 0.0) ** 0.5


@dataclass(frozen=True)
class Haemangioma:
    """A round vascular and fatty lesion in a vertebral body, crossed by thick trabeculae that show as dark dots."""

    z_mm: float
    greatest_radius_mm: float
    half_height_mm: float
    place: tuple[float, float]  # -1...1 of the room to the left and to posterior in the body
    brightness: float  # against CSF on T2, against fat on T1
    dots: tuple[tuple[float, float], ...]  # against the radius

    def radius_mm(self, z_mm: float) -> float:
        """Return the radius at height ``z_mm``."""
        return self.greatest_radius_mm * max(1 - ((z_mm - self.z_mm) / self.half_height_mm) ** 2, 0.0) ** 0.5


@dataclass(frozen=True)
class Implant:
    """Metal of a fusion: a plate with screws and cages in front, cages alone, or screws and rods behind."""

    kind: str
    span: tuple[int, int]  # first and last vertebra, 1 C3 ... 5 C7
    pitch_mm: float  # height of a vertebra and its disc

    @property
    def text(self) -> str:
        """Kind and outermost vertebrae, e.g. ``plate C5/C6``."""
        return f"{self.kind} C{self.span[0] + 2}/C{self.span[1] + 2}"

    def from_screws_mm(self, z_mm: float) -> float:
        """Return the distance along the spine to the nearest screws, which lie in the middle of the vertebrae."""
        return min(abs(z_mm - (0.5 - body) * self.pitch_mm) for body in range(self.span[0], self.span[1] + 1))

    def from_cage_mm(self, z_mm: float) -> float:
        """Return the distance along the spine to the nearest replaced disc."""
        return min(abs(z_mm + body * self.pitch_mm) for body in range(self.span[0], self.span[1]))

    def within(self, z_mm: float, beyond_mm: float) -> bool:
        """Return whether a height lies between the outermost screws or up to ``beyond_mm`` past them."""
        low, high = ((0.5 - body) * self.pitch_mm for body in (self.span[1], self.span[0]))
        return low - beyond_mm < z_mm < high + beyond_mm

    def part(self, z_mm: float) -> str:
        """Return what a slice at height ``z_mm`` cuts: ``plate``, ``cage``, ``screws`` or nothing."""
        if self.kind == "screws":
            return "screws" if self.within(z_mm, PLATE_END_MM) else ""
        if self.from_cage_mm(z_mm) < CAGE_MM:
            return "cage"
        return "plate" if self.kind == "plate" and self.within(z_mm, PLATE_END_MM) else ""


@dataclass(frozen=True)
class SliceFindings:
    """What one slice shows; the columns of truth.csv."""

    spondylolisthesis_mm: float = 0.0  # anterior slip at this disc
    syrinx: int = 0
    haemangioma: int = 0
    hardware: str = ""
    motion: int = 0
    swallowing: int = 0
    fat_saturation_failed: int = 0  # in the patient's fat-suppressed series


FINDING_COLUMNS = tuple(column.name for column in fields(SliceFindings))


@dataclass(frozen=True)
class Findings:
    """What a patient has besides lesions."""

    slip: Slip | None = None
    syrinx: Syrinx | None = None
    haemangioma: Haemangioma | None = None
    implant: Implant | None = None

    @property
    def implants(self) -> str:
        """The column of patients.csv: ``none``, or e.g. ``plate C5/C6``."""
        return self.implant.text if self.implant else "none"

    def forward_mm(self, z_mm: float) -> float:
        """Return how far the spine at height ``z_mm`` has slipped forward."""
        return self.slip.forward_mm(z_mm) if self.slip else 0.0

    def narrowing_mm(self, z_mm: float, gap_front_mm: Array, gap_back_mm: Array) -> tuple[Array, Array]:
        """Return how far a slip reaches into the canal from the front and from behind: it takes CSF and does not dent.

        Args:
            z_mm: height.
            gap_front_mm: free CSF in front of the cord, at each lateral position.
            gap_back_mm: the same behind it.
        """
        half = 0.5 * self.slip.narrowing_mm(z_mm) if self.slip else 0.0
        front, back = (np.clip(0.85 * gap, 0, half) for gap in (gap_front_mm, gap_back_mm))
        return front, back


@dataclass(frozen=True)
class Artefacts:
    """What went wrong while a patient was scanned."""

    motion: bool = False
    swallowing: tuple[bool, ...] = ()  # during each slice; empty without swallowing
    fat_saturation_failed: bool = False

    def swallowed(self, slice_index: int) -> bool:
        """Return whether the patient swallowed during a slice."""
        return bool(self.swallowing) and self.swallowing[slice_index % len(self.swallowing)]


NO_FINDINGS, NO_ARTEFACTS = Findings(), Artefacts()


def slice_findings(
    findings: Findings, artefacts: Artefacts, slice_index: int, heights_mm: Sequence[float]
) -> SliceFindings:
    """Return what a slice shows of a patient's findings.

    Args:
        findings: of the patient.
        artefacts: of the scan.
        slice_index: of the slice.
        heights_mm: heights that the slice averages over.
    """
    slip, syrinx, haemangioma, implant = findings.slip, findings.syrinx, findings.haemangioma, findings.implant
    parts = [implant.part(z_mm) for z_mm in heights_mm] if implant else [""]
    return SliceFindings(
        spondylolisthesis_mm=slip.slip_mm if slip and any(slip.narrowing_mm(z_mm) > 0 for z_mm in heights_mm) else 0.0,
        syrinx=int(syrinx is not None and np.mean([syrinx.width_mm(z_mm) for z_mm in heights_mm]) >= 1),
        haemangioma=int(haemangioma is not None and np.mean([haemangioma.radius_mm(z) for z in heights_mm]) >= 1),
        hardware=next((name for name in ("cage", "plate", "screws") if name in parts), ""),
        motion=int(artefacts.motion),
        swallowing=int(artefacts.swallowed(slice_index)),
        fat_saturation_failed=int(artefacts.fat_saturation_failed),
    )


def sample_findings(rng: np.random.Generator, age: float, pitch_mm: float) -> Findings:
    """Draw a patient's findings; slips grow more frequent with age.

    Args:
        rng: a stream of its own.
        age: in years.
        pitch_mm: height of a vertebra and its disc.
    """
    older = float(np.exp(0.03 * (age - SLIP_AGE)))
    shares = [share * (older if name == "spondylolisthesis" else 1) for name, share in SHARES.items()]
    slip, syrinx, haemangioma, hardware = rng.random(len(SHARES)) < shares
    # each is drawn whether the patient has it or not, so that no finding changes another
    drawn = sample_slip(rng, pitch_mm), sample_syrinx(rng, pitch_mm), sample_haemangioma(rng, pitch_mm)
    implant = sample_implant(rng, pitch_mm)
    return Findings(
        slip=drawn[0] if slip else None,
        syrinx=drawn[1] if syrinx else None,
        haemangioma=drawn[2] if haemangioma else None,
        implant=implant if hardware else None,
    )


def sample_slip(rng: np.random.Generator, pitch_mm: float) -> Slip:
    """Draw an anterior slip of 2 to 4 mm."""
    disc = int(rng.choice(SLIP_DISCS[0], p=SLIP_DISCS[1]))
    return Slip(disc, -disc * pitch_mm, rng.uniform(2.0, 4.0))


def sample_syrinx(rng: np.random.Generator, pitch_mm: float) -> Syrinx:
    """Draw a syrinx of one to three levels, its middle between C3 and C7."""
    return Syrinx(
        z_mm=-rng.uniform(0.5, 4.5) * pitch_mm,
        half_height_mm=0.5 * rng.uniform(1.0, 3.0) * pitch_mm,
        greatest_width_mm=rng.uniform(1.5, 4.0),
    )


def sample_haemangioma(rng: np.random.Generator, pitch_mm: float) -> Haemangioma:
    """Draw a haemangioma of 4 to 10 mm in one of the bodies C3 to T1."""
    radius = rng.uniform(2.0, 5.0)
    count = round(1.2 * radius**1.3) + 3
    spiral = np.arange(count) * 2.4 + rng.uniform(0, 2 * np.pi)  # the golden angle spreads them evenly
    distances = np.sqrt((np.arange(count) + 0.5) / count) * 0.88
    points = distances[:, None] * np.stack([np.cos(spiral), np.sin(spiral)], axis=1) + rng.normal(0, 0.04, (count, 2))
    return Haemangioma(
        z_mm=(0.5 - int(rng.integers(1, 7))) * pitch_mm + rng.normal(0, 0.5),
        greatest_radius_mm=radius,
        half_height_mm=min(radius * rng.uniform(0.9, 1.2), 5.2),
        place=(rng.uniform(-0.8, 0.8), rng.uniform(-0.8, 0.8)),
        brightness=rng.uniform(0.9, 1.1),
        dots=tuple((float(x), float(y)) for x, y in points),
    )


def sample_implant(rng: np.random.Generator, pitch_mm: float) -> Implant:
    """Draw the metal of a fusion of one or two levels."""
    kind = str(rng.choice(list(IMPLANT_KINDS), p=list(IMPLANT_KINDS.values())))
    span = IMPLANT_SPANS[int(rng.choice(len(IMPLANT_SPANS), p=IMPLANT_SPAN_SHARES))]
    return Implant(kind, span, pitch_mm)


def sample_artefacts(rng: np.random.Generator) -> Artefacts:
    """Draw what goes wrong in a patient's scan."""
    motion, swallowing, fat = rng.random(len(ARTEFACT_SHARES)) < list(ARTEFACT_SHARES.values())
    flags = tuple((rng.random(MOST_SLICES) < SWALLOWED_SHARE).tolist())
    return Artefacts(bool(motion), flags if swallowing else (), bool(fat))
