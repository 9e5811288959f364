"""Which files may be copied: one of each image, and a series whole or not at all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..dicom.frames import Frame
from ..dicom.grouping import kind_of
from ..dicom.judgements import ENHANCED_MR, MR
from ..dicom.pixels import same_pixels

COPY = "a copy of an image that another file holds"
DAMAGED = "damaged or incomplete pixels"
WITHOUT_UID = "PatientID, SeriesInstanceUID or SOPInstanceUID is missing"
DISAGREE = "files of one SOPInstanceUID disagree"
INCOMPLETE = "its series is not whole: "


@dataclass
class Selection:
    """What becomes of the files.

    Attributes:
        chosen: the files to copy, with their frames, in order.
        refused: the others, with the reason.
        patients: PatientID of every MR image, refused ones too.
        uids: SeriesInstanceUID and SOPInstanceUID of every MR image, refused ones too.
    """

    chosen: dict[str, list[Frame]] = field(default_factory=dict)
    refused: list[tuple[str, str]] = field(default_factory=list)
    patients: set[str] = field(default_factory=set)
    uids: set[str] = field(default_factory=set)

    def drop_series(self, series: dict[str, str]) -> None:
        """Refuse what is left of series that are not whole, given the reason by SeriesInstanceUID."""
        for path, frames in list(self.chosen.items()):
            reason = series.get(frames[0].facts.series_uid)
            if reason:
                self.refused.append((path, INCOMPLETE + reason))
                del self.chosen[path]


def select(frames: Iterable[Frame]) -> Selection:
    """Choose the files to copy.

    A series that ``index`` would refuse must not pass because the offending files were left out, nor may file names
    decide which of two images stays: so damage and contradictions refuse the whole series.
    """
    files: dict[str, list[Frame]] = defaultdict(list)
    for frame in frames:
        files[frame.path].append(frame)
    found = Selection()
    images: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    broken: dict[str, str] = {}
    for path in sorted(files):
        first = files[path][0]
        facts = first.facts
        if facts.modality != "MR" or facts.sop_class_uid not in (MR, *ENHANCED_MR):
            found.refused.append((path, "not an MR image"))
            continue
        found.patients.update({facts.patient_id} - {""})
        found.uids.update({facts.series_uid, first.sop_uid} - {""})
        if not facts.patient_id or not facts.series_uid or not first.sop_uid:
            found.refused.append((path, WITHOUT_UID))
            broken[facts.series_uid] = WITHOUT_UID
            continue
        images[facts.patient_id, facts.series_uid, first.sop_uid].append(path)
    for (_, series, _), paths in images.items():
        whole = [path for path in paths if not any(frame.problem for frame in files[path])]
        found.refused += [(path, DAMAGED) for path in paths if path not in whole]
        if not whole:
            broken[series] = DAMAGED
            continue
        first_path, *others = whole
        if all(same_image(files[first_path], files[other]) for other in others):
            found.refused += [(other, COPY) for other in others]
            found.chosen[first_path] = files[first_path]
        else:
            found.refused += [(path, DISAGREE) for path in whole]
            broken[series] = DISAGREE
    found.drop_series(broken)
    return found


def same_image(first: list[Frame], other: list[Frame]) -> bool:
    """Return whether two files hold one image: of one kind, at one place, with the same pixels."""
    return frame_identity(first) == frame_identity(other) and same_pixels(first[0].path, other[0].path)


def frame_identity(frames: list[Frame]) -> list[tuple[object, ...]]:
    """Return what a file says of its frames that tells images apart."""
    return [(one.frame, kind_of(one.facts), one.origin_mm, one.orientation, one.slope, one.intercept) for one in frames]
