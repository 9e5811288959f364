"""Private elements by their maker: a creator reserves a block of its group, and any of 240 blocks is legal.

Source: DICOM PS3.5, section 7.8.1. Elements: dcm2niix, https://github.com/rordenlab/dcm2niix (console/nii_dicom.cpp,
GE/README.md, Philips/README.md, Siemens/README.md, UIH/README.md), and pydicom's private dictionary.
"""

from __future__ import annotations

from typing import Any

from pydicom.dataelem import RawDataElement

PRIVATE = {
    (0x0019, "SIEMENS MR HEADER", 0x0C): ("SiemensBValue", "IS"),
    (0x0019, "SIEMENS MR HEADER", 0x0D): ("SiemensDirectionality", "CS"),
    (0x0029, "MMCPRIVATE", 0x30): ("HitachiBValue", "FD"),
    (0x0043, "GEMS_PARM_01", 0x39): ("GEBValue", "IS"),
    (0x0065, "IMAGE PRIVATE HEADER", 0x09): ("UIHBValue", "FD"),
    (0x2001, "PHILIPS IMAGING DD 001", 0x03): ("PhilipsBValue", "FL"),
    (0x2001, "PHILIPS IMAGING DD 001", 0x13): ("PhilipsEPIFactor", "SL"),
}
"""Name of our own and VR of the wanted elements, by group, creator and last byte of the tag."""
PRIVATE_NAMES = tuple(name for name, _ in PRIVATE.values())
PRIVATE_GROUPS = {group for group, _, _ in PRIVATE}
CREATORS = {(group, creator) for group, creator, _ in PRIVATE}


class PrivateBlocks:
    """The wanted private elements of one dataset, whose elements are offered in ascending order.

    Attributes:
        fields: the elements by name, with the VR that their maker means.
    """

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}
        self.creators: dict[int, str] = {}

    def wants(self, tag: int) -> bool:
        """Return whether an element reserves a block, or lies in one of a known creator."""
        return tag >> 16 in PRIVATE_GROUPS and (tag >> 8 & 0xFF == 0 or tag >> 8 in self.creators)

    def add(self, element: Any) -> None:
        """Take an element that is wanted."""
        tag, value = int(element.tag), element.value
        group = tag >> 16
        if tag >> 8 & 0xFF == 0:
            creator = value.decode("latin-1") if isinstance(value, bytes) else str(value)
            creator = creator.strip(" \0").upper()
            if (group, creator) in CREATORS:
                self.creators[group << 8 | tag & 0xFF] = creator
        elif known := PRIVATE.get((group, self.creators[tag >> 8], tag & 0xFF)):
            name, vr = known
            unknown = isinstance(element, RawDataElement) and element.VR in (None, "UN", "OB")
            self.fields.setdefault(name, element._replace(VR=vr) if unknown else element)
