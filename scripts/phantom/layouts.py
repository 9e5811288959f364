"""The layouts in which hospitals export an axial series: a classic stack, one enhanced file, stacks along the discs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .anatomy import DISCS
from .patients import Patient, Settings, named_stream, stream
from .scanners import Stack
from .series import canal_centre_mm

EVERY = 10  # patients, of whom one has an enhanced file and another disc-angled stacks
FEWEST_SLICES = 20
STACK_SLICES = (4, 5)
WEDGE_DEG = (1.2, 2.0)  # how much neighbouring discs turn against each other beside the canal's curve
REACH_MM = 25.0


def layout_of(settings: Settings, index: int) -> str:
    """Return ``classic``, ``enhanced`` or ``angled``; of each ten patients one is enhanced and one angled.

    With a number of slices in the settings, and in BIDS, nobody is angled.
    """
    first, second = named_stream(settings.seed, index // EVERY, "layouts").permutation(EVERY)[:2]
    if index % EVERY == first:
        return "enhanced"
    straight = settings.slices is not None or settings.layout == "bids"
    return "angled" if index % EVERY == second and not straight else "classic"


def laid_out(patient: Patient) -> Patient:
    """Return the patient with the axial series in its layout."""
    layout = layout_of(patient.settings, patient.index)
    if layout == "angled":
        return replace(patient, scan=replace(patient.scan, stacks=disc_stacks(patient)))
    return replace(patient, scan=replace(patient.scan, enhanced=layout == "enhanced"))


def disc_stacks(patient: Patient) -> tuple[Stack, ...]:
    """Return one stack for each cervical disc that the series covers, across the canal and turned with the disc.

    The stacks turn steadily from disc to disc, by more than a degree each, as the discs of a lordotic (or kyphotic)
    neck do. They are one volume to `scripts.dicom`, whose slices come by position; here they come by orientation.
    """
    scan, anatomy = patient.scan, patient.anatomy
    rng = stream(patient, "disc-angled stacks")
    lowest, highest = scan.heights_mm[0], scan.heights_mm[-1]
    heights = [-anatomy.pitch_mm * number for number in range(len(DISCS) - 1)]
    heights = [height for height in heights if lowest <= height <= highest]
    fewest, most = STACK_SLICES
    fitting = int(np.clip(round(0.95 * anatomy.pitch_mm / scan.step_mm), fewest, most))
    count = max(fitting, -(-FEWEST_SLICES // len(heights)))
    steps_mm = (np.arange(count) - 0.5 * (count - 1)) * scan.step_mm
    bend = 1.0 if anatomy.lordosis_per_mm > 0 else -1.0
    wedge = bend * rng.uniform(*WEDGE_DEG)
    lean = rng.normal(0, 1)
    stacks = []
    for number, middle_mm in enumerate(heights):
        slope = anatomy.drift + 2 * anatomy.lordosis_per_mm * (middle_mm - scan.middle_mm)
        turn_deg = float(-np.rad2deg(np.arctan(slope)) + wedge * (number - 0.5 * (len(heights) - 1)) + lean)
        turn = np.deg2rad(turn_deg)
        z_mm = middle_mm + np.linspace(-REACH_MM, REACH_MM, 501)
        y = np.array([canal_centre_mm(patient, float(z))[1] for z in z_mm])
        along = (z_mm - middle_mm) * np.cos(turn) - (y - canal_centre_mm(patient, middle_mm)[1]) * np.sin(turn)
        stacks.append(Stack(middle_mm, turn_deg, tuple(np.interp(steps_mm, along, z_mm).tolist())))

    def orientation(stack: Stack) -> tuple[float, float]:
        tilt = np.deg2rad(scan.tilt_deg + stack.turn_deg)
        return float(np.cos(tilt)), float(np.sin(tilt))

    return tuple(sorted(stacks, key=orientation))
