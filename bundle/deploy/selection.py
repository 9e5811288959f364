"""Selecting series by the rules of the index, and turning them into volumes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monai.deploy.core.domain import DICOMSeries, DICOMStudy
from monai.deploy.core.domain.dicom_series_selection import SelectedSeries, StudySelectedSeries
from monai.deploy.operators.dicom_series_selector_operator import DICOMSeriesSelectorOperator
from monai.deploy.operators.dicom_series_to_volume_operator import DICOMSeriesToVolumeOperator

from scripts.console import printable
from scripts.dicom.geometry import by_orientation
from scripts.dicom.judgements import judge
from scripts.dicom.sources import scan
from scripts.dicom.stacks import Stack
from scripts.errors import InputError


def reason_against(stack: Stack, loaded: Sequence[str], phantom_only: bool) -> str:
    """Return why a stack cannot go through this application; empty where it can.

    Args:
        stack: the stack, from its headers.
        loaded: SOPInstanceUIDs of the series as the SDK loaded it.
        phantom_only: whether the weights know synthetic patients only.
    """
    judgement = judge(stack)
    if not judgement.accepted:
        return judgement.reason
    if phantom_only and not stack.phantom:
        return "the weights were trained on a synthetic phantom and know no real patient; train on your own cohort"
    if stack.multi_frame:
        return "enhanced multi-frame DICOM, which MONAI Deploy's volume operator does not read; use the predict command"
    if len({(one.slope, one.intercept) for one in stack.slices}) > 1:
        return (
            "RescaleSlope or RescaleIntercept varies by slice, which MONAI Deploy's volume operator rounds away; use "
            "the predict command"
        )
    if len(by_orientation([one.row_direction + one.column_direction for one in stack.slices])) > 1:
        return "its slices stand at angles, which MONAI Deploy's volume operator ignores; use the predict command"
    if {one.sop_uid for one in stack.slices} != set(loaded):
        return (
            f"its series holds {len(loaded)} images, of which only {len(stack.slices)} lie in one stack (several "
            "echoes or time points); send one stack per series, or use the predict command"
        )
    return ""


class AxialT2SelectorOperator(DICOMSeriesSelectorOperator):
    """Select every axial T2 series by tags and geometry (`scripts.dicom.judgements.judge`), never by its description.

    Args:
        fragment: the application.
        args: for the base class.
        input_folder: folder of the DICOM files; their headers are read again, because the SDK keeps one of several
            images at one position, silently.
        phantom_only: whether only series of the phantom may be scored.
        kwargs: for the base class.
    """

    def __init__(self, fragment: Any, *args: Any, input_folder: Path, phantom_only: bool, **kwargs: Any) -> None:
        self.input_folder, self.phantom_only = Path(input_folder), phantom_only
        super().__init__(fragment, *args, **kwargs)

    def filter(
        self,
        selection_rules: Any,
        dicom_study_list: list[DICOMStudy],
        all_matched: bool = True,
        sort_by_sop_instance_count: bool = False,
    ) -> list[StudySelectedSeries]:
        """Return the selected series of all studies; each carries its stack as metadata.

        Raises:
            InputError: no series fits; the message names each with the reason.
        """
        stacks, unreadable = scan(self.input_folder)
        by_series: dict[str, list[Stack]] = {}
        for stack in stacks:
            by_series.setdefault(stack.series_uid, []).append(stack)
        refused = [f"{path}: {reason}" for path, reason in unreadable]
        selected = []
        for study in dicom_study_list:
            chosen = StudySelectedSeries(study)
            for series in study.get_all_series():
                uid = str(series.SeriesInstanceUID)
                fitting, reason = self.choose(series, by_series.get(uid, []))
                if fitting is None:
                    refused.append(f"series {uid}: {reason}")
                    continue
                chosen.add_selected_series(SelectedSeries(uid, series, metadata={"stack": fitting}))
            if chosen.selected_series:
                selected.append(chosen)
        for line in refused:
            logging.info("not used: %s", printable(line))
        if not selected:
            listed = "".join(f"\n  {line}" for line in refused) or "\n  there is no DICOM image"
            raise InputError(f"no axial T2 series to score in {self.input_folder}:{listed}")
        return selected

    def choose(self, series: DICOMSeries, stacks: Sequence[Stack]) -> tuple[Stack | None, str]:
        """Return the stack of a series that fits, or None and the reason."""
        loaded = [str(instance.get_native_sop_instance().SOPInstanceUID) for instance in series.get_sop_instances()]
        reasons = [reason_against(stack, loaded, self.phantom_only) for stack in stacks]
        for stack, reason in zip(stacks, reasons, strict=True):
            if not reason:
                return stack, ""
        return None, "; ".join(dict.fromkeys(reasons)) or "not an image"


class VolumesOperator(DICOMSeriesToVolumeOperator):
    """The SDK's operator, applied to every selected series instead of the first."""

    def setup(self, spec: Any) -> None:
        """Take and give the selected series; each then holds its image."""
        spec.input(self.input_name_series)
        spec.output(self.input_name_series)

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Convert."""
        studies = op_input.receive(self.input_name_series)
        for study in studies:
            for series in study.selected_series:
                one = StudySelectedSeries(study.study)
                one.add_selected_series(series)
                self.convert_to_image([one])  # also puts the image into `series`
        op_output.emit(studies, self.input_name_series)
