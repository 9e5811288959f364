"""Looking for what identifies someone: in written headers and in the cells of tables."""

from __future__ import annotations

import calendar
import io
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from pydicom import Dataset, dcmread
from pydicom.datadict import keyword_for_tag, tag_for_keyword

from ..dicom.character_sets import decode
from .rules import DATED, EMPTY, is_phantom, standard_vr, tags
from .vocabulary import PARTICLES, TABLE_VOCABULARY, VOCABULARY

PATIENT = ("PatientName", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName", "ResponsiblePerson")
STAFF = (
    "ReferringPhysicianName", "OperatorsName", "PerformingPhysicianName", "NameOfPhysiciansReadingStudy",
    "RequestingPhysician", "PhysiciansOfRecord", "ConsultingPhysicianName",
)  # fmt: skip
NUMBERS = (
    "PatientID", "OtherPatientIDs", "AccessionNumber", "StudyID", "PatientTelephoneNumbers", "DeviceSerialNumber",
)  # fmt: skip
PLACES = ("InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName", "PatientAddress", "StationName")
DATES = ("PatientBirthDate", "StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "InstanceCreationDate")
UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")
# written by us, or not in words of the source
OURS = DATED | tags(
    "PatientID", "PatientName", "PatientIdentityRemoved", "LongitudinalTemporalInformationModified", *EMPTY,
    "DeidentificationMethod", "DeidentificationMethodCodeSequence", "DerivationDescription", "ImageComments",
)  # fmt: skip
# a name of two or three letters counts as a whole word, one of five also within a word; other words count from four on
SHORTEST_NAME, SHORTEST_PIECE, LONG_NAME, SHORTEST_DIGITS = 2, 4, 5, 6
BINARY = ("US", "SS", "UL", "SL", "FL", "FD", "AT")
PLAIN_NUMBER = re.compile(r"[+-]?\d*\.?\d*(e[+-]?\d+)?")
UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe", "æ": "ae"})


@dataclass
class Identifiers:
    """What must not remain, each with the attribute that it comes from.

    Attributes:
        words: sequences of words and numbers, matched whole, in any case and with anything between them.
        names: long names, matched within words too.
        digits: numbers and dates, matched with cells that are numbers.
        uids: UIDs.
    """

    words: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    digits: dict[str, str] = field(default_factory=dict)
    uids: dict[str, str] = field(default_factory=dict)

    def update(self, other: Identifiers) -> None:
        """Add those of another."""
        for mine, theirs in zip(vars(self).values(), vars(other).values(), strict=True):
            mine.update(theirs)

    def add(self, text: str, origin: str, within: bool = False) -> None:
        """Add a text in the spellings in which it may come back; ``within``: also as a part of a word."""
        for spelling in spellings(text):
            sequence = words_of(spelling)
            if sequence:
                self.words[sequence] = origin
            if within and spelling.isalpha() and len(spelling) >= LONG_NAME:
                self.names[spelling] = origin
        if text.isdigit():
            self.digits[text] = origin

    def in_text(self, text: str) -> list[str]:
        """Return the attributes of which something is in a text; values stand between backslashes."""
        found: list[str] = []
        for value in text.split("\\"):
            value = value.strip(" \0\n\r\t")
            if not value:
                continue
            if PLAIN_NUMBER.fullmatch(value.casefold()):
                found += [self.digits[value]] if value in self.digits else []
                continue
            found += [self.uids[part] for part in re.split(r"[^0-9.]+", value) if part in self.uids]
            for spelling in spellings(value):
                parts = words_of(spelling).split()
                runs = (" ".join(parts[start:end]) for start, end in combinations(range(len(parts) + 1), 2))
                found += [self.words[run] for run in runs if run in self.words]
                found += [origin for name, origin in self.names.items() if name in spelling]
        return sorted(set(found))


def spellings(text: str) -> set[str]:
    """Return a text in lower case: as it is, without accents, and with umlauts written out."""
    lower = unicodedata.normalize("NFKC", text).casefold()
    bare = "".join(one for one in unicodedata.normalize("NFD", lower) if not unicodedata.combining(one))
    return {lower, bare, lower.translate(UMLAUTS)}


def words_of(text: str) -> str:
    """Return the words and numbers of a text with one space between them; ``b19610315`` holds a word and a number."""
    return " ".join(re.findall(r"\d+|[^\W\d_]+", text))


def identifiers(source: Dataset) -> Identifiers:
    """Gather what identifies a patient, a visit, staff, a place or a device.

    Short numbers are left out, for they appear among the sizes and times of any image; so are the field's own terms
    (``VOCABULARY``), and for staff and places the words of the maker's name, which some scanners give as these.
    """
    found = Identifiers()
    own = set(words_of(f"{value(source, 'Manufacturer')} {value(source, 'ManufacturerModelName')}".casefold()).split())
    add_people(found, source, SHORTEST_NAME, set(), own)
    for keyword in PLACES:
        add_pieces(found, value(source, keyword), keyword, SHORTEST_PIECE, own)
    known = own | set(words_of(value(source, "BodyPartExamined").casefold()).split())
    for piece in re.findall(r"[^\W\d_]+", value(source, "StudyDescription")):
        if len(piece) >= SHORTEST_PIECE and not spellings(piece) & (known | VOCABULARY):
            found.add(piece, "StudyDescription")
    for keyword in UIDS:
        uid = value(source, keyword)
        if uid.count(".") > 1:
            found.uids[uid] = keyword
    return found


def table_identifiers(source: Dataset) -> Identifiers:
    """Gather what must not stand in tables: as in headers, but places only as a whole.

    A region may share a word with a hospital, and the sites of phantoms are nobody's.
    """
    found = Identifiers()
    add_people(found, source, SHORTEST_NAME + 1, set(TABLE_VOCABULARY), set())
    for keyword in () if is_phantom(source) else ("InstitutionName", "InstitutionAddress"):
        text = value(source, keyword)
        if len(text) >= SHORTEST_PIECE and not set(words_of(text.casefold()).split()) <= VOCABULARY:
            found.add(text, keyword)
    return found


def add_people(found: Identifiers, source: Dataset, shortest: int, common: set[str], maker: set[str]) -> None:
    """Add names, numbers and dates of a patient, a visit and staff.

    Args:
        found: is added to.
        source: an image.
        shortest: letters of the shortest name.
        common: words that are no names, beside ``VOCABULARY``.
        maker: words that are no names of staff.
    """
    for keyword in (*PATIENT, *STAFF):
        add_pieces(found, value(source, keyword), keyword, shortest, common | (maker if keyword in STAFF else set()))
    for keyword in NUMBERS:
        add_pieces(found, value(source, keyword), keyword, SHORTEST_PIECE, set())
    for keyword in DATES:
        for form in date_forms(value(source, keyword)):
            found.add(form, keyword)


def add_pieces(found: Identifiers, text: str, keyword: str, shortest: int, common: set[str]) -> None:
    """Add the whole of a value and its pieces, but for ``common`` words."""
    person = keyword in (*PATIENT, *STAFF)
    separators = r"[\W\d_]+" if person else r"[\\^=\s,;]+"
    for piece in dict.fromkeys([*text.split("\\"), *re.split(separators, text)]):
        plain = piece.strip(" \0.^=")
        length = len(re.sub(r"[\W_]+", "", plain))
        if length < shortest or (plain.isdigit() and length < SHORTEST_DIGITS):
            continue
        words = set(words_of(plain.casefold()).split())
        if not words <= VOCABULARY | common | (PARTICLES if person else set()):
            found.add(plain, keyword, within=person or keyword in NUMBERS)


def date_forms(text: str) -> list[str]:
    """Return the ways in which people and machines write a DICOM date."""
    match = re.fullmatch(r"(\d{4})\.?(\d{2})\.?(\d{2})", text.strip())
    if not match or not 1 <= int(match[2]) <= 12:
        return []
    year, month, day = match.groups()
    forms = []
    short = (month.lstrip("0"), day.lstrip("0"))
    for y, m, d in ((year, month, day), (year, *short), (year[2:], month, day)):
        forms += [f"{y} {m} {d}", f"{d} {m} {y}", f"{m} {d} {y}"]
        for name in (calendar.month_abbr[int(month)], calendar.month_name[int(month)]):
            forms += [f"{d} {name} {y}", f"{name} {d} {y}", f"{y} {name} {d}"]
    for y in (year, year[2:]):
        forms += [f"{y}{month}{day}", f"{day}{month}{y}", f"{month}{day}{y}"]
    return forms


def value(source: Dataset, keyword: str) -> str:
    """Return an attribute as text, empty where it is absent."""
    return element_text(source, int(tag_for_keyword(keyword) or 0), charset_of(source))


def charset_of(source: Dataset) -> list[str]:
    """Return the values of SpecificCharacterSet."""
    named = element_text(source, 0x00080005, []) if 0x00080005 in source else ""
    return [one.strip() for one in re.split(r"[\\,\[\]']+", named) if one.strip()]


def element_text(source: Dataset, tag: int, charset: list[str]) -> str:
    """Decode an element whatever its VR; what is not text gives text that means nothing."""
    if tag not in source:
        return ""
    content = source.get_item(tag).value
    if not isinstance(content, bytes):
        parts = content if isinstance(content, Sequence) and not isinstance(content, str) else [content]
        return "" if content is None else "\\".join(map(str, parts)).strip(" \0")
    if b"\x1b" not in content:  # escapes are of ISO 2022, and would pass for UTF-8
        try:
            return content.decode("utf-8").strip(" \0")
        except UnicodeDecodeError:
            pass
    try:
        return decode(content, charset).strip(" \0")
    except (LookupError, ValueError):
        return content.decode("latin-1").strip(" \0")


def texts_in(source: Dataset, charset: list[str] | None = None) -> Iterator[tuple[str, str]]:
    """Yield keyword and text of everything that came from the source, in sequences too."""
    charset = charset_of(source) or charset or []
    for tag in source.keys():  # noqa: SIM118 - iterating a Dataset converts every value
        if int(tag) in OURS:
            continue
        vr = standard_vr(int(tag), "")
        if vr == "SQ":
            for item in source[tag].value or []:
                yield from texts_in(item, charset)
        elif vr not in BINARY or source.get_item(tag).VR not in (None, *BINARY):
            yield keyword_for_tag(tag), element_text(source, int(tag), charset)


def left_over(content: bytes, originals: Identifiers) -> list[str]:
    """Return the attributes of a written file in which an identifier remains."""
    written = dcmread(io.BytesIO(content), stop_before_pixels=True)
    return sorted({keyword for keyword, text in texts_in(written) if originals.in_text(text)})
