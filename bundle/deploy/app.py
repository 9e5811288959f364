"""The pipeline: loader, selector, volumes, classifier, writers."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from monai.deploy.conditions import CountCondition
from monai.deploy.core import Application
from monai.deploy.operators.dicom_data_loader_operator import DICOMDataLoaderOperator
from monai.deploy.operators.dicom_utils import EquipmentInfo, ModelInfo

from scripts.console import printable
from scripts.dicom.silence import quiet
from scripts.errors import InputError, root_message

from .classification import ClassifierOperator, SeriesClassifier
from .selection import AxialT2SelectorOperator, VolumesOperator
from .writers import ResultWriterOperator, TextReportOperator

# lets weights trained on the phantom score patients, as --allow_phantom_weights does in the predict command
ALLOW = "CORD_ALLOW_PHANTOM_WEIGHTS"
SOFTWARE = "cervical_cord_compression"


class CordCompressionApp(Application):
    """Score every axial T2 series of the studies in the input folder."""

    def compose(self) -> None:
        """Connect the operators."""
        context = Application.init_app_context(self.argv)
        input_folder, output_folder = Path(context.input_path), Path(context.output_path)
        classifier = SeriesClassifier(context.model_path)
        loader = DICOMDataLoaderOperator(self, CountCondition(self, 1), input_folder=input_folder, name="loader")
        selector = AxialT2SelectorOperator(
            self,
            input_folder=input_folder,
            phantom_only=classifier.facts["trained_on_phantom"] and os.environ.get(ALLOW) != "true",
            name="selector",
        )
        volumes = VolumesOperator(self, name="volumes")
        scorer = ClassifierOperator(self, classifier=classifier, name="classifier")
        text = TextReportOperator(
            self,
            output_folder=output_folder,
            model_info=ModelInfo(SOFTWARE, classifier.facts["model_name"], classifier.facts["model_version"], ""),
            equipment_info=EquipmentInfo(manufacturer=SOFTWARE, manufacturer_model=SOFTWARE),
            custom_tags={"SeriesDescription": "Cord compression report (RESEARCH USE ONLY)"},
            name="text_report",
        )
        writer = ResultWriterOperator(self, output_folder=output_folder, name="result_writer")
        selected = {("study_selected_series_list", "study_selected_series_list")}
        self.add_flow(loader, selector, {("dicom_study_list", "dicom_study_list")})
        self.add_flow(selector, volumes, selected)
        self.add_flow(volumes, scorer, selected)
        self.add_flow(scorer, text, {("results", "results")})
        self.add_flow(scorer, writer, {("results", "results")})


def main() -> int:
    """Run; returns 0 where a series was scored, 2 where the input cannot be used."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    try:
        with quiet():
            CordCompressionApp().run()
    except InputError as error:
        sys.stderr.write(f"error: {printable(root_message(error))}\n")
        return 2
    return 0
