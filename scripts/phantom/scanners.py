"""Scanners and protocols: what each maker's axial T2 series looks like on disk, and one patient's draw from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from .fields import clamp

STYLES = ("tse", "gre")


@dataclass(frozen=True)
class Vendor:
    """How one maker scans and stores."""

    manufacturer: str
    models: tuple[str, ...]
    descriptions: tuple[str, ...]  # of the axial T2 turbo spin echo
    descriptions_gre: tuple[str, ...]
    matrices: tuple[int, ...]
    zero_filled: int  # written matrix after zero filling, 0 for none
    counts: tuple[float, float]  # range of the stored value of CSF
    signed: bool
    bits_stored: int
    rescaled: bool  # writes a rescale slope
    implicit_vr: bool
    image_type: tuple[str, ...]
    normalised: float  # how often the coil's shading is corrected


VENDORS = {
    vendor.manufacturer: vendor
    for vendor in (
        Vendor(
            manufacturer="SIEMENS",
            models=("Avanto", "Aera", "Skyra", "Prisma"),
            descriptions=("t2_tse_tra", "t2_tse_tra_p2", "T2 TSE AX C-SPINE"),
            descriptions_gre=("t2_me2d_tra", "t2_fl2d_tra_hemo"),
            matrices=(320, 320, 384, 256),
            zero_filled=0,
            counts=(350, 900),
            signed=False,
            bits_stored=12,
            rescaled=False,
            implicit_vr=False,
            image_type=("ORIGINAL", "PRIMARY", "M", "NORM", "DIS2D"),
            normalised=0.7,
        ),
        Vendor(
            manufacturer="GE MEDICAL SYSTEMS",
            models=("SIGNA HDxt", "DISCOVERY MR750", "SIGNA Pioneer"),
            descriptions=("AX T2 FSE", "Ax T2 frFSE C-SP", "AX T2"),
            descriptions_gre=("AX T2* GRE", "AX MERGE"),
            matrices=(256, 320, 288),
            zero_filled=512,
            counts=(1500, 5500),
            signed=True,
            bits_stored=16,
            rescaled=False,
            implicit_vr=False,
            image_type=("ORIGINAL", "PRIMARY", "OTHER"),
            normalised=0.45,
        ),
        Vendor(
            manufacturer="Philips Medical Systems",
            models=("Achieva", "Ingenia", "Intera"),
            descriptions=("T2W_TSE_ax", "T2 TSE tra", "T2W_TSE AX"),
            descriptions_gre=("T2W_FFE_ax", "mFFE tra"),
            matrices=(288, 320, 352),
            zero_filled=0,
            counts=(900, 2200),
            signed=False,
            bits_stored=12,
            rescaled=True,
            implicit_vr=False,
            image_type=("ORIGINAL", "PRIMARY", "M_SE", "M", "SE"),
            normalised=0.8,
        ),
        Vendor(
            manufacturer="TOSHIBA",
            models=("Titan", "Vantage Elan"),
            descriptions=("T2 AX FSE2D", "FSE T2W AX"),
            descriptions_gre=("FE T2* AX",),
            matrices=(256, 320),
            zero_filled=0,
            counts=(2500, 9000),
            signed=True,
            bits_stored=16,
            rescaled=False,
            implicit_vr=True,
            image_type=("ORIGINAL", "PRIMARY", "OTHER"),
            normalised=0.5,
        ),
    )
}


@dataclass(frozen=True)
class Site:
    """A hospital; ``shifted`` marks the one whose scanner differs (lower contrast and signal, shorter echo).

    Args:
        name: a code.
        regions: where its patients live, with shares. Two sites are referral centres, whose patients come from two
            regions, and patients of each region are at two sites: neither site nor region tells the other.
        share: of the cohort's patients.
        makers: of its scanners, with shares.
        shifted: see above.
    """

    name: str
    regions: Mapping[str, float]
    share: float
    makers: Mapping[str, float]
    shifted: bool = False


SITES = (
    Site(
        name="site-1",
        regions={"North America": 0.8, "Europe": 0.2},
        share=0.45,
        makers={"SIEMENS": 0.55, "Philips Medical Systems": 0.25, "GE MEDICAL SYSTEMS": 0.2},
    ),
    Site(
        name="site-2",
        regions={"Europe": 0.7, "Asia Pacific": 0.3},
        share=0.30,
        makers={"SIEMENS": 0.35, "Philips Medical Systems": 0.45, "TOSHIBA": 0.2},
    ),
    Site(
        name="site-3",
        regions={"Asia Pacific": 0.6, "North America": 0.4},
        share=0.25,
        makers={"GE MEDICAL SYSTEMS": 0.7, "TOSHIBA": 0.3},
        shifted=True,
    ),
)


@dataclass(frozen=True)
class Stack:
    """Parallel slices of an axial series.

    Args:
        middle_mm: height of the stack's centre, on the canal's curve, above the C2/C3 disc.
        turn_deg: how far the stack is turned about the left-right axis, beside the tilt of the whole series.
        heights_mm: height at which each slice cuts the canal's curve, the most caudal first.
    """

    middle_mm: float
    turn_deg: float
    heights_mm: tuple[float, ...]


@dataclass(frozen=True)
class Scan:
    """One axial series: geometry (mm), resolution, imperfections and header values."""

    vendor: Vendor
    model: str
    description: str
    field_strength_t: float
    echo_time_ms: float
    repetition_time_ms: float
    flip_angle_deg: float
    echo_train: int
    matrix: int  # acquired and reconstructed before zero filling
    written_matrix: int
    fov_mm: float
    thickness_mm: float
    gap_mm: float
    middle_mm: float  # height, above the C2/C3 disc, that lies in the scanner's isocentre
    stacks: tuple[Stack, ...]  # in the order in which readers number them
    tilt_deg: float  # of the series about the left-right axis
    roll_deg: float  # of the neck in the image
    canal_x_mm: float  # of the canal from the image centre, middle slice
    canal_y_mm: float
    phase_rows: bool  # phase encoding along the rows
    acquired_share: tuple[float, float]  # of the matrix, read-out and phase
    snr: float
    ghost: float
    saturation: float  # signal left in front, 1 = no saturation band
    normalised: bool
    counts_csf: float
    flow_loss: float
    contrast: float  # cord and muscle against CSF, 1 = usual
    ascending: bool  # instance numbers grow to cranial
    enhanced: bool = False  # all slices in one multi-frame file

    @property
    def step_mm(self) -> float:
        """Distance between slice centres."""
        return self.thickness_mm + self.gap_mm

    @property
    def pixel_mm(self) -> float:
        """Pixel size before zero filling."""
        return self.fov_mm / self.matrix

    @property
    def heights_mm(self) -> tuple[float, ...]:
        """Height of every slice above the C2/C3 disc, stack by stack."""
        return tuple(height_mm for stack in self.stacks for height_mm in stack.heights_mm)

    @property
    def n_slices(self) -> int:
        """Number of slices in all stacks."""
        return len(self.heights_mm)

    def z_mm(self, number: int) -> float:
        """Height of a slice, counted through all stacks from 0, above the C2/C3 disc."""
        return self.heights_mm[number]

    def place(self, number: int) -> tuple[int, int]:
        """Stack of a slice, from 1, and the slice's position in it, 0 the most caudal."""
        return [(n, i) for n, stack in enumerate(self.stacks, 1) for i in range(len(stack.heights_mm))][number]

    def straight(self, n_slices: int, middle_mm: float) -> Scan:
        """The same scan with one stack of ``n_slices`` about a height that then lies in the isocentre."""
        heights = middle_mm + (np.arange(n_slices) - 0.5 * (n_slices - 1)) * self.step_mm
        return replace(self, middle_mm=middle_mm, stacks=(Stack(middle_mm, 0.0, tuple(heights.tolist())),))


def sample_scan(rng: np.random.Generator, site: Site, style: str, pitch_mm: float, matrix: int | None) -> Scan:
    """Draw a patient's axial series at a site."""
    vendor = VENDORS[str(rng.choice(list(site.makers), p=list(site.makers.values())))]
    gre = style == "gre"
    thickness = float(rng.choice([2.0, 2.5, 3.0, 3.0, 3.0, 3.5, 4.0]))
    gap = float(rng.choice([0, 0, 0.1, 0.1, 0.2])) * thickness
    step = thickness + gap
    above = rng.uniform(0.9, 1.6) if rng.random() < 0.25 else rng.uniform(-0.1, 0.75)  # a quarter shows dens and C1
    below = rng.uniform(4.2, 5.7)
    n_slices = int(np.clip(round((max(above, 0) + below) * pitch_mm / step), 20, 45))
    z_top = min(above * pitch_mm, (n_slices - 1) * step - 4.2 * pitch_mm) if n_slices == 45 else above * pitch_mm
    n_slices = int(min(n_slices, (z_top + 6.2 * pitch_mm) // step))
    acquired = matrix or int(rng.choice(vendor.matrices))
    zero_filled = (2 * matrix if matrix else vendor.zero_filled) if vendor.zero_filled else acquired
    low, high = np.log(9), np.log(24 if site.shifted else 34)
    scan = Scan(
        vendor=vendor,
        model=str(rng.choice(vendor.models)),
        description=str(rng.choice(vendor.descriptions_gre if gre else vendor.descriptions)),
        field_strength_t=1.5 if site.shifted else float(rng.choice([1.5, 3.0], p=[0.6, 0.4])),
        echo_time_ms=round(
            rng.uniform(14, 18) if gre else rng.uniform(76, 92) if site.shifted else rng.uniform(90, 118), 1
        ),
        repetition_time_ms=round(rng.uniform(480, 820) if gre else rng.uniform(3000, 5200)),
        flip_angle_deg=float(rng.choice([25, 28, 30]) if gre else rng.choice([120, 150, 160, 90])),
        echo_train=1 if gre else int(rng.choice([11, 15, 17, 21])),
        matrix=acquired,
        written_matrix=zero_filled,
        fov_mm=clamp(rng.normal(172 if site.shifted else 163, 15), 130, 200),
        thickness_mm=thickness,
        gap_mm=gap,
        middle_mm=0.0,
        stacks=(),
        tilt_deg=rng.normal(4, 6),
        roll_deg=rng.normal(0, 4.5),
        canal_x_mm=rng.normal(0, 5),
        canal_y_mm=rng.normal(8, 6),
        phase_rows=bool(rng.random() < 0.5),
        acquired_share=(rng.uniform(0.6, 1.0), rng.uniform(0.42, 0.8)),
        snr=float(np.exp(rng.uniform(low, high))),
        ghost=max(0.0, rng.normal(0.03, 0.05)),
        saturation=1.0 if rng.random() < 0.35 else rng.uniform(0.3, 0.7),
        normalised=bool(rng.random() < vendor.normalised),
        counts_csf=float(np.exp(rng.uniform(*np.log(vendor.counts)))),
        flow_loss=max(0.0, rng.normal(0.22, 0.18)),
        contrast=rng.normal(0.85, 0.05) if site.shifted else rng.normal(1.0, 0.04),
        ascending=bool(rng.random() < 0.5),
    )
    return scan.straight(n_slices, z_top - 0.5 * (n_slices - 1) * step)
