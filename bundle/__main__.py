"""The command table of the packer: ``python -m bundle COMMAND --help``."""

from __future__ import annotations

import sys

from scripts.__main__ import Commands, main
from scripts.console import end_in_order

# name: (module that holds the function of that name, one line for the overview)
COMMANDS: Commands = {
    "assemble": ("assemble", "copy the bundle's files into one folder, check them, and zip it"),
    "export": ("export", "write the network as TorchScript, ONNX and torch.export, and compare them"),
    "verify": ("verify", "run the model zoo's checks on a packed bundle"),
    "deploy": ("deploy_folder", "write the MONAI Deploy application's folder"),
    "environment": ("environments", "install the environment of MONAI Label or MONAI Deploy"),
    "benchmarks": ("benchmarks.command", "measure how fast each part is here, against its goal"),
    "simulate": ("simulate", "measure how often the report's intervals contain the true value; hours"),
    "torture": ("campaigns.torture", "kill commands at random moments, go on, and compare with untouched runs"),
    "fuzz": ("campaigns.fuzz", "feed mutated DICOM, NIfTI, zips, tables, checkpoints and configs to the readers"),
    "load": ("campaigns.load", "run 100,000 files through index, deidentify and split, 1,000 series through predict"),
    "label": ("label", "serve a packed bundle to 3D Slicer and OHIF through MONAI Label"),
}

if __name__ == "__main__":
    end_in_order()
    sys.exit(main(sys.argv[1:], COMMANDS, "bundle"))
