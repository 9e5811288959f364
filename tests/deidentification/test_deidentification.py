"""Taking identities out."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from datetime import datetime
from pathlib import Path
from shutil import which

import pytest
from cohort_fixtures import N_PATIENTS, N_SLICES, patients, write_cohort
from csv_rows import read_rows, write_rows
from dicom_fixtures import axial_t2, enhanced_t2, item, uid, write, write_series
from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c
from pydicom import Dataset, dcmread
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from scripts.cohort.split import split
from scripts.deidentification.command import deidentify
from scripts.deidentification.identifiers import date_forms
from scripts.deidentification.linkage import Linkage
from scripts.deidentification.rules import DATED, EMPTY, clean, kept_elements
from scripts.dicom.frames import PHANTOM_COMMENT
from scripts.dicom.judgements import judge
from scripts.dicom.private_elements import PRIVATE
from scripts.dicom.sources import scan
from scripts.errors import InputError

SECRETS = {
    "PatientName": "Doe^Jonathan^Q",
    "PatientID": "HOSP-778812",
    "PatientBirthDate": "19530417",
    "PatientAge": "071Y",
    "OtherPatientIDs": "PASS99812",
    "PatientAddress": "12 Elm Street",
    "PatientComments": "friend of Zebediah",
    "InstitutionName": "Saint Elsewhere",
    "ReferringPhysicianName": "House^Gregory",
    "OperatorsName": "Ratched^Mildred",
    "AccessionNumber": "ACC5512345",
    "StudyID": "STUDY8871",
    "StationName": "MRSCANNER42",
    "DeviceSerialNumber": "SN5512377",
    "StudyDescription": "Neck of Jonathan Doe",
    "SeriesDescription": "t2_tse_Doe",
    "ProtocolName": "Elsewhere neck",
    "ImageComments": "seen by Gregory",
    "RequestedProcedureDescription": "for Ratched",
    "ReceiveCoilName": "Elsewhere coil",
}
WORDS = (
    "Doe", "Jonathan", "HOSP", "19530417", "PASS99812", "Elm Street", "Zebediah", "Elsewhere", "House", "Gregory",
    "Ratched", "ACC5512345", "STUDY8871", "MRSCANNER42", "SN5512377", "071Y", "20240229", "SECRETTEXT",
)  # fmt: skip


def identified(index: int, enhanced: bool = False) -> Dataset:
    """Give a slice full of identity: names, free text, private and nested tags, dates, references."""
    ds = enhanced_t2("HOSP-778812") if enhanced else axial_t2("HOSP-778812", "T2", index)
    for keyword, value in SECRETS.items():
        setattr(ds, keyword, value)
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = "20240229"
    ds.StudyTime = "103015.5"
    ds.BurnedInAnnotation = "NO"
    ds.private_block(0x0029, "ELSEWHERE", create=True).add_new(1, "LO", "SECRETTEXT Doe")
    reference = Dataset()
    reference.ReferencedSOPClassUID = ds.SOPClassUID
    reference.ReferencedSOPInstanceUID = uid("HOSP-778812", "T2", 0)
    reference.PatientName = "Doe^Jonathan"
    ds.ReferencedImageSequence = Sequence([reference])
    ds.RequestAttributesSequence = item(RequestedProcedureDescription="SECRETTEXT")
    ds.add_new(0x60000010, "US", 32)
    ds.add_new(0x60003000, "OW", b"SECRETTEXT Doe" * 2)
    ds.add_new(0x60004000, "LT", "SECRETTEXT")
    if enhanced:
        ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PatientComments = "SECRETTEXT"
    return ds


@pytest.fixture
def source(tmp_path) -> Path:
    folder = tmp_path / "Doe Jonathan"
    for index in range(3):
        write(identified(index), folder / f"Doe{index}.dcm")
    return folder


def run(source: Path, name: str = "out", **options) -> Path:
    out = source.parent / name
    deidentify(str(source), str(out), str(source.parent / "private" / "linkage.csv"), **options)
    return out


def images(out: Path) -> list[Path]:
    return sorted((out / "dicom").rglob("*.dcm"))


def test_nothing_of_the_identity_is_left_in_the_images_their_names_or_the_log(source, capsys):
    write(identified(0, enhanced=True), source / "enhanced")
    (source / "Doe.txt").write_text("Doe Jonathan")
    out = run(source)
    printed = capsys.readouterr()
    uids = [uid("HOSP-778812"), uid("HOSP-778812", "T2"), uid("HOSP-778812", "T2", 1), uid("HOSP-778812", "frame")]
    assert len(images(out)) == 4
    for path in images(out):
        content = path.read_bytes().replace(dcmread(path).PixelData, b"").decode("latin-1")
        for word in (*WORDS, *uids):
            assert word.lower() not in (content + str(path.relative_to(out))).lower(), word
            assert word not in printed.out + printed.err.replace(str(source), ""), word


def test_pixels_and_geometry_stay_bit_for_bit_and_the_decision_too(source):
    out = run(source)
    before, after = (scan(folder)[0] for folder in (source, out))
    assert [judge(stack) for stack in before] == [judge(stack) for stack in after]
    assert len(after) == 1
    for one, other in zip(before[0].slices, after[0].slices, strict=True):
        old, new = dcmread(one.path), dcmread(other.path)
        assert old.PixelData == new.PixelData
        for keyword in (
            "ImagePositionPatient",
            "ImageOrientationPatient",
            "PixelSpacing",
            "SliceThickness",
            "EchoTime",
        ):
            assert old.get_item(keyword).value == new.get_item(keyword).value


def add_private(ds: Dataset, name: str, value: object) -> None:
    """Write one of the private elements that decide what a series is."""
    ((group, creator, last),) = [place for place, (known, _) in PRIVATE.items() if known == name]
    ds.private_block(group, creator, create=True).add_new(last, PRIVATE[group, creator, last][1], value)


HIDDEN = [
    ("PhilipsBValue", 800.0),
    ("SiemensBValue", "500"),
    ("GEBValue", ["1000000750", "8", "0", "0"]),
    ("PhilipsEPIFactor", 7),
]


def decisions(folder: Path) -> list[tuple[str, str]]:
    return sorted((one.decision, one.reason) for one in map(judge, scan(folder)[0]))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_what_only_private_elements_tell_decides_alike_before_and_after(tmp_path, syntax):
    source = tmp_path / "in"
    for number, (name, value) in enumerate(HIDDEN):
        for index in range(3):
            plain = axial_t2("P1", name, index)
            add_private(plain, name, value)
            write(plain, source / f"{number}-{index}", syntax)
        for place in ("top", "shared", "frames"):
            whole = enhanced_t2("P1", f"{name} {place}")
            holders = {"top": [], "shared": whole.SharedFunctionalGroupsSequence}.get(place)
            for groups in whole.PerFrameFunctionalGroupsSequence if holders is None else holders:
                inside = Dataset()
                add_private(inside, name, value)
                kind = "Shared" if place == "shared" else "PerFrame"
                setattr(groups, f"Unassigned{kind}ConvertedAttributesSequence", Sequence([inside]))
            if place == "top":
                add_private(whole, name, value)
            write(whole, source / f"{number}-{place}", syntax)
    # the images without weighting of a diffusion series, which makers write into files of their own
    for index, b_value in enumerate([0, 0, 0, 900, 900, 900]):
        mixed = axial_t2("P1", "mixed", index % 3)
        mixed.SOPInstanceUID = uid("mixed", index)
        add_private(mixed, "SiemensBValue", str(b_value))
        write(mixed, source / f"mixed-{index}", syntax)
    before = decisions(source)
    out = run(source)
    assert len(before) == 4 * len(HIDDEN) + 2
    assert {decision for decision, _ in before} == {"refuse"}
    after = decisions(out)
    assert [decision for decision, _ in after] == [decision for decision, _ in before]
    diffusion = [reason for _, reason in before if "diffusion" in reason]
    assert [reason for _, reason in after if "diffusion" in reason] == diffusion
    assert all(b"SIEMENS MR" not in path.read_bytes() for path in images(out))


def test_every_series_of_the_phantom_is_judged_alike_before_and_after(cohort, tmp_path):
    first = sorted((cohort / "dicom").iterdir())[0]
    shutil.copytree(first, tmp_path / "in")
    before = decisions(tmp_path / "in")
    assert {decision for decision, _ in before} == {"accept", "refuse"}
    assert decisions(run(tmp_path / "in")) == before


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless])
def test_every_transfer_syntax_keeps_its_bytes(tmp_path, syntax):
    ds = identified(0)
    path = write(ds, tmp_path / "in" / "a")
    if syntax == RLELossless:
        ds.compress(RLELossless, generate_instance_uid=False)
    ds["PixelData"].VR = "OW"
    write(ds, path, syntax)
    (found,) = images(run(tmp_path / "in"))
    old, new = dcmread(path), dcmread(found)
    assert new.file_meta.TransferSyntaxUID == syntax
    assert old.PixelData == new.PixelData
    assert new.Rows == 32


def test_values_that_make_pydicom_complain_are_not_quoted(source, capsys, recwarn, caplog):
    path = source / "odd"
    write(identified(0), path)
    path.write_bytes(path.read_bytes().replace(b"19530417", b"Doe^17.4").replace(b"HFS ", b"Doe "))
    run(source)
    printed = capsys.readouterr()
    said = printed.out + printed.err + caplog.text + "".join(str(one.message) for one in recwarn)
    assert "Doe" not in said.replace(str(source), "")


def test_uids_are_replaced_alike_everywhere(source):
    out = run(source)
    found = [dcmread(path) for path in images(out)]
    sops = {str(ds.SOPInstanceUID) for ds in found}
    assert len(sops) == 3
    assert {str(ds.ReferencedImageSequence[0].ReferencedSOPInstanceUID) for ds in found} < sops
    assert {ds.ReferencedImageSequence[0].ReferencedSOPClassUID for ds in found} == {found[0].SOPClassUID}
    assert len({ds.SeriesInstanceUID for ds in found}) == len({ds.StudyInstanceUID for ds in found}) == 1
    assert all(ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID for ds in found)
    assert all(len(one) <= 64 and one.startswith("2.25.") for one in sops)


def test_the_dataset_says_what_was_done(source):
    ds = dcmread(images(run(source))[0])
    assert (ds.PatientIdentityRemoved, ds.LongitudinalTemporalInformationModified) == ("YES", "MODIFIED")
    assert [one.CodeValue for one in ds.DeidentificationMethodCodeSequence] == ["113100", "113105", "113107"]
    assert ds.PatientName == ds.PatientID == images(source.parent / "out")[0].parent.parent.name
    assert (ds.PatientBirthDate, ds.PatientSex, ds.AccessionNumber) == ("", "", "")


def test_dates_move_by_one_number_of_days_per_patient_or_go(source):
    ds = identified(0)
    ds.SeriesDate, ds.SOPInstanceUID = "20240310", "1.2.3"
    write(ds, source / "later")
    found = [dcmread(path) for path in images(run(source))]
    for one in found:
        assert (one.StudyDate, one.StudyTime) != ("20240229", "")
        assert one.StudyTime == "103015.5"
    days = sorted({(parse(one.SeriesDate) - parse(one.StudyDate)).days for one in found})
    assert days == [0, 10]  # the leap day lies between
    removed = [dcmread(path) for path in images(run(source, "removed", dates="remove"))]
    assert {(one.StudyDate, one.get("SeriesDate"), one.StudyTime) for one in removed} == {("", None, "")}
    assert removed[0].LongitudinalTemporalInformationModified == "REMOVED"


def parse(date: str) -> datetime:
    return datetime.strptime(date, "%Y%m%d")


def test_the_same_linkage_gives_the_same_result_and_another_key_does_not(source):
    first, second = run(source, "first"), run(source, "second")
    assert [p.relative_to(first) for p in images(first)] == [p.relative_to(second) for p in images(second)]
    assert [p.read_bytes() for p in images(first)] == [p.read_bytes() for p in images(second)]
    deidentify(str(source), str(source.parent / "third"), str(source.parent / "other.csv"))
    assert {p.name for p in images(first)}.isdisjoint(p.name for p in images(source.parent / "third"))


def test_the_linkage_leads_back_and_is_private(source):
    out = run(source)
    path = source.parent / "private" / "linkage.csv"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.with_name("linkage_refused.csv").stat().st_mode) == 0o600
    rows = {(row["kind"], row["original"]): row["replacement"] for row in read_rows(path)}
    assert rows["patient", "HOSP-778812"] == dcmread(images(out)[0]).PatientID
    assert rows["uid", uid("HOSP-778812", "T2")] == dcmread(images(out)[0]).SeriesInstanceUID
    assert not any(rows["key", ""].encode() in p.read_bytes() for p in out.rglob("*") if p.is_file())
    path.chmod(0o644)
    with pytest.raises(InputError, match="can be read by others; run chmod 600"):
        run(source, "again")


def test_what_must_not_be_copied_is_refused_and_listed_privately(source, capsys):
    def changed(name: str, **changes) -> None:
        ds = identified(0)
        for keyword, value in changes.items():
            setattr(ds, keyword, value)
        ds.SOPInstanceUID = uid(name)
        write(ds, source / name)

    changed("burned", BurnedInAnnotation="YES")
    changed("screenshot", ImageType=["DERIVED", "SECONDARY", "SCREEN SAVE"])
    changed("report", Modality="SR")
    changed("short", PixelData=bytes(100), SeriesInstanceUID=uid("short series"))
    changed("hidden", SequenceName="Jonathan")
    (source / "Doe.txt").write_text("x")
    out = run(source)
    assert len(images(out)) == 3
    rows = read_rows(source.parent / "private" / "linkage_refused.csv")
    assert {Path(row["path"]).name: row["reason"] for row in rows} == {
        "burned": "text is burned into the pixels (BurnedInAnnotation)",
        "screenshot": "a screenshot, which may show names",
        "report": "not an MR image",
        "short": "damaged or incomplete pixels",
        "hidden": "an identifier would remain in SequenceName",
        "Doe.txt": "not DICOM (text)",
    }
    assert "3 images of 1 patients" in capsys.readouterr().out


def test_images_that_do_not_say_whether_text_is_burned_in_are_counted(tmp_path, capsys):
    write_series(tmp_path / "in", n=2)
    run(tmp_path / "in")
    assert "2 images do not say whether text is burned into their pixels" in capsys.readouterr().out


def test_tables_are_renamed_with_the_images_and_still_fit(tmp_path):
    cohort = write_cohort(tmp_path / "cohort")
    tables = f"{cohort / 'labels.csv'}, {cohort / 'patients.csv'}"
    out = tmp_path / "out"
    deidentify(str(cohort / "dicom"), str(out), str(tmp_path / "linkage.csv"), tables=tables)
    assert not set(patients()) & {row["patient_id"] for row in read_rows(out / "patients.csv")}
    split(str(out / "labels.csv"), str(out / "patients.csv"), str(out / "dicom"), str(out / "datalist.json"))
    assert len(read_rows(out / "labels.csv")) == N_PATIENTS * N_SLICES


def test_persons_get_pseudonyms_and_visits_that_belong_together_still_do(tmp_path):
    cohort = write_cohort(tmp_path / "cohort")
    persons = {"P00": "HOSP-778812", "P07": "HOSP-778812", "P03": "P02", "P04": "unknown"}
    rows = [row | {"person": persons.get(row["patient_id"], "")} for row in read_rows(cohort / "patients.csv")]
    write_rows(cohort / "patients.csv", rows)
    linkage = tmp_path / "linkage.csv"
    deidentify(str(cohort / "dicom"), str(tmp_path / "out"), str(linkage), tables=str(cohort / "patients.csv"))
    found = dict(zip(patients(), read_rows(tmp_path / "out" / "patients.csv"), strict=True))
    assert found["P00"]["person"] == found["P07"]["person"] != ""
    assert found["P03"]["person"] == found["P02"]["patient_id"]
    assert (found["P04"]["person"], found["P05"]["person"]) == ("unknown", "")
    assert not set(persons.values()) & {row["person"] for row in found.values()} - {"unknown"}
    assert "person,HOSP-778812," in linkage.read_text()
    write_rows(cohort / "patients.csv", [row | {"sex": "hosp 778812"} for row in rows])
    with pytest.raises(InputError, match=r"lines 2, .*: sex holds something of PatientID") as caught:
        deidentify(str(cohort / "dicom"), str(tmp_path / "again"), str(linkage), tables=str(cohort / "patients.csv"))
    assert "778812" not in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"patient_id": "P99", "site": "x"}], "none of its 1 patients is among the images"),
        ([{"patient_id": "HOSP-778812", "site": "x", "surname": "Doe"}], "column surname might identify someone"),
    ],
)
def test_tables_that_do_not_fit_are_refused_and_nothing_is_written(source, rows, message):
    write_rows(source.parent / "patients.csv", rows)
    with pytest.raises(InputError, match=message):
        run(source, tables=str(source.parent / "patients.csv"))
    assert not (source.parent / "out").exists()
    assert not list(source.parent.glob(".deidentify*"))


@pytest.mark.parametrize(
    ("out", "linkage", "message"),
    [
        ("out", "out/linkage.csv", "put it elsewhere, do not share it"),
        ("in/out", "linkage.csv", "keep originals and copies apart"),
        ("full", "linkage.csv", "not an empty folder"),
    ],
)
def test_places_are_kept_apart(tmp_path, out, linkage, message):
    write_series(tmp_path / "in", n=1)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("x")
    with pytest.raises(InputError, match=message):
        deidentify(str(tmp_path / "in"), str(tmp_path / out), str(tmp_path / linkage))


def test_a_folder_without_mr_images_is_refused_without_naming_its_files(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "Doe.txt").write_text("x")
    with pytest.raises(InputError, match=r"none of the 1 files is an MR image .*: 1 not DICOM") as caught:
        run(tmp_path / "in")
    assert "Doe" not in str(caught.value)


@pytest.mark.parametrize(
    ("description", "copied"),
    [
        ("Lossless JPEG compression, ratio 2.31", "Lossless compression"),
        ("Lossless compression by Ratched", "Derived by more than lossless compression"),
    ],
)
def test_a_derivation_survives_in_our_own_words(tmp_path, description, copied):
    ds = identified(0)
    ds.ImageType, ds.DerivationDescription = ["DERIVED", "SECONDARY"], description
    write(ds, tmp_path / "in" / "a")
    (found,) = images(run(tmp_path / "in"))
    assert dcmread(found).DerivationDescription == copied


def test_a_maker_given_as_institution_is_no_reason_to_refuse(tmp_path):
    write_series(tmp_path / "in", n=1, InstitutionName="TOSHIBA", Manufacturer="TOSHIBA_MEC")
    assert len(images(run(tmp_path / "in"))) == 1


def refused(folder: Path) -> dict[str, str]:
    rows = read_rows(folder / "private" / "linkage_refused.csv")
    return {Path(row["path"]).name: row["reason"] for row in rows}


def test_a_phantom_stays_one_and_nothing_of_its_comment_but_the_constant(tmp_path):
    comment = f"{PHANTOM_COMMENT}, made by Gregory"
    write_series(tmp_path / "in", n=3, QualityControlImage="YES", ImageComments=comment, PatientName="Phantom^One")
    write_series(tmp_path / "in" / "real", "real", n=3, ImageComments=comment)
    out = run(tmp_path / "in")
    stacks, _ = scan(out)
    assert sorted(stack.phantom for stack in stacks) == [False, True]
    assert {dcmread(path).get("ImageComments") for path in images(out)} == {PHANTOM_COMMENT, None}


def test_one_truncated_slice_keeps_its_whole_series_out(tmp_path):
    paths = write_series(tmp_path / "in", n=5)
    write_series(tmp_path / "in" / "other", "other", n=2)
    paths[1].write_bytes(paths[1].read_bytes()[:-700])
    assert len(images(run(tmp_path / "in"))) == 2
    rest = "its series is not whole: damaged or incomplete pixels"
    assert refused(tmp_path) == {path.name: rest for path in paths} | {paths[1].name: "damaged or incomplete pixels"}


def test_one_header_that_pydicom_cannot_write_keeps_its_whole_series_out(tmp_path, monkeypatch):
    paths = write_series(tmp_path / "in", n=4)
    write_series(tmp_path / "in" / "other", "other", n=2)

    def failing(dataset, *args):
        if dataset.SOPInstanceUID == uid("P1", "T2", 2):
            raise KeyError("damaged")
        return clean(dataset, *args)

    monkeypatch.setattr("scripts.deidentification.copying.clean", failing)
    out = run(tmp_path / "in")
    assert len(images(out)) == 2
    assert len(list((out / "dicom").iterdir())) == 1  # no empty folder tells of the other patient
    reason = "damaged header (KeyError)"
    expected = dict.fromkeys((path.name for path in paths), f"its series is not whole: {reason}")
    assert refused(tmp_path) == expected | {paths[2].name: reason}


@pytest.mark.parametrize("name", ["aa", "zz"])
@pytest.mark.parametrize("changes", [{"PixelData": bytes(2048)}, {"ImagePositionPatient": [-8.0, -8.0, 99.0]}])
def test_files_of_one_uid_that_disagree_keep_their_series_out_whatever_their_names(tmp_path, name, changes):
    paths = [path.rename(path.with_name(f"m{path.name}")) for path in write_series(tmp_path / "in", n=3)]
    write_series(tmp_path / "in" / "other", "other", n=2)
    ds = dcmread(paths[0])
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    ds.save_as(tmp_path / "in" / name)
    before = [judge(stack).decision for stack in scan(tmp_path / "in")[0] if stack.patient_id == "P1"]
    assert before == ["refuse"]
    assert len(images(run(tmp_path / "in"))) == 2
    reasons = refused(tmp_path)
    assert reasons[name] == reasons[paths[0].name] == "files of one SOPInstanceUID disagree"
    assert reasons[paths[1].name] == "its series is not whole: files of one SOPInstanceUID disagree"


def test_of_true_copies_and_damaged_copies_one_image_is_kept(tmp_path):
    paths = write_series(tmp_path / "in", n=3)
    (tmp_path / "in" / "zz copy").write_bytes(paths[0].read_bytes())
    (tmp_path / "in" / "aa damaged").write_bytes(paths[1].read_bytes()[:-700])
    assert len(images(run(tmp_path / "in"))) == 3
    assert refused(tmp_path) == {
        "zz copy": "a copy of an image that another file holds",
        "aa damaged": "damaged or incomplete pixels",
    }


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"PatientName": "Meier^Hans", "SequenceName": "MEIER_t2"}, "SequenceName"),
        ({"PatientName": "MEIER^HANS", "SequenceName": "t2meier1"}, "SequenceName"),
        ({"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Müller^Jo", "SequenceName": "MÜLLER"}, "SequenceName"),
        ({"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Müller^Jo", "SequenceName": "mueller"}, "SequenceName"),
        ({"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Jörg", "ManufacturerModelName": "Aera Müller"},
         "ManufacturerModelName"),
        ({"PatientName": "Kim^Lee", "SequenceName": "Kim_t2"}, "SequenceName"),
        ({"PatientBirthDate": "19610315", "BodyPartExamined": "15031961"}, "BodyPartExamined"),
        ({"PatientBirthDate": "19610315", "SequenceName": "b1961-03-15"}, "SequenceName"),
        ({"StudyDate": "20190403", "SequenceName": "s20190403"}, "SequenceName"),
        ({"StudyDescription": "Neck of Zebediah", "SequenceName": "zebediah_t2"}, "SequenceName"),
        ({"AccessionNumber": "5512345", "AcquisitionNumber": "5512345"}, "AcquisitionNumber"),
        ({"PatientID": "Meier, Hans; geb. 1961", "SequenceName": "hans"}, "SequenceName"),
    ],
)  # fmt: skip
def test_an_identifier_that_would_remain_is_found(tmp_path, changes, where):
    write_series(tmp_path / "in", n=1, **changes)
    with pytest.raises(InputError, match=f"1 an identifier would remain in {where}"):
        run(tmp_path / "in")


@pytest.mark.parametrize(
    "changes",
    [
        {"InstitutionName": "CSPINE CENTER"},
        {"ReferringPhysicianName": "NORM^DR", "ImageType": ["ORIGINAL", "PRIMARY", "M", "NORM"]},
        {"PatientName": "Kim^Lee", "SequenceName": "Kimura"},
        {"PatientBirthDate": "19610315", "RepetitionTime": "4000.610315"},
        {"PatientID": "500000", "RepetitionTime": "4000.500000"},
        {"OperatorsName": "SKYRA"},
        {"StudyDescription": "HWS nativ", "BodyPartExamined": "HWS"},
    ],
)
def test_what_only_looks_like_an_identifier_is_no_reason_to_refuse(tmp_path, changes):
    write_series(tmp_path / "in", n=1, **changes)
    assert len(images(run(tmp_path / "in"))) == 1


def test_a_date_is_known_in_the_forms_that_people_write():
    forms = set(date_forms("19610315"))
    assert {"19610315", "15031961", "150361", "1961 03 15", "15 3 1961", "15 Mar 1961", "March 15 1961"} <= forms
    assert date_forms("15.3.1961") == date_forms("") == date_forms("19611315") == []


def test_spaces_around_a_patient_id_make_no_second_patient(tmp_path):
    write_series(tmp_path / "in", n=4, PatientID=lambda index: ["P1", " P1", "P1 ", " P1 "][index])
    assert len(list((run(tmp_path / "in") / "dicom").iterdir())) == 1


def labelled(folder: Path, **changes) -> str:
    paths = write_series(folder / "in", n=2, PatientName="Meier^Hans", PatientBirthDate="19610315")
    assert paths
    row = {"patient_id": "P1", "series_uid": uid("P1", "T2"), "sop_uid": uid("P1", "T2", 0), "rater": "a"}
    row |= {"reading": "1", "role": "reference", "status": "evaluable", "label": "1", "kind": ""}
    write_rows(folder / "labels.csv", [row, row | {"rater": "b"} | changes])
    return str(folder / "labels.csv")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rater": "Dr. MEIER"}, "line 3: rater holds something of PatientName of an image; write a code instead"),
        ({"rater": f"of {uid('P1', 'T2')}"}, "line 3: rater holds something of a UID"),
        ({"status": "seen 15.3.1961"}, "line 3: status holds something of PatientBirthDate"),
        ({"kind": "2024-02-29"}, "line 3: kind holds a date; remove it"),
        ({"patient_id": "P2"}, "line 3: patient_id is not among the images"),
        ({"sop_uid": "1.2.826.99"}, "line 3: sop_uid is not among the images"),
        ({"sop_uid": "1.2E+30"}, "line 3: sop_uid is no UID .*a spreadsheet turned it into a number"),
    ],
)
def test_a_cell_that_identifies_or_fits_no_image_is_refused_before_any_image_is_touched(
    tmp_path, monkeypatch, changes, message
):
    monkeypatch.setattr("scripts.deidentification.copying.cleaned", None)
    tables = labelled(tmp_path, **changes)
    with pytest.raises(InputError, match=message) as caught:
        run(tmp_path / "in", tables=tables)
    assert not any(str(value) in str(caught.value) for value in changes.values())
    assert not (tmp_path / "out").exists()


def test_all_problems_of_all_tables_are_named_at_once(tmp_path):
    tables = labelled(tmp_path, rater="Meier", status="15.03.1961", sop_uid="1.2E+30")
    write_rows(tmp_path / "patients.csv", [{"patient_id": "P1", "site": "Meier"}])
    with pytest.raises(InputError) as caught:
        run(tmp_path / "in", tables=f"{tables},{tmp_path / 'patients.csv'}")
    for part in ("line 3: rater", "line 3: status", "line 3: sop_uid", "line 2: site"):
        assert part in str(caught.value)


def test_one_problem_of_many_lines_is_said_once(tmp_path):
    tables = labelled(tmp_path)
    rows = read_rows(Path(tables))
    write_rows(Path(tables), rows[:1] + [rows[0] | {"patient_id": "HOSP-99"}] * 7 + [rows[0] | {"rater": "of hosp 99"}])
    with pytest.raises(InputError) as caught:
        run(tmp_path / "in", tables=tables)
    assert "lines 3, 4, 5, 6, 7 and 2 more: patient_id is not among the images" in str(caught.value)
    assert "line 10: rater holds something of PatientID" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 3


def test_rows_of_patients_and_images_that_are_not_copied_are_left_out_and_counted(tmp_path, capsys):
    tables = labelled(tmp_path)
    damaged = write_series(tmp_path / "in" / "P2", "P2", n=2)[0]
    damaged.write_bytes(damaged.read_bytes()[:-700])
    write_series(tmp_path / "in" / "P4", "P4", n=1, SeriesInstanceUID="")
    rows = read_rows(Path(tables))
    write_rows(
        Path(tables),
        [*rows, rows[0] | {"patient_id": "P2", "series_uid": uid("P2", "T2"), "sop_uid": uid("P2", "T2", 0)}],
    )
    write_rows(tmp_path / "patients.csv", [{"patient_id": name, "site": "x"} for name in ("P1", "P2", "P3")])
    out = run(tmp_path / "in", tables=f"{tables},{tmp_path / 'patients.csv'}")
    printed = capsys.readouterr().out
    assert "1 rows of labels.csv left out" in printed
    assert "2 rows of patients.csv left out" in printed
    assert (len(read_rows(out / "labels.csv")), len(read_rows(out / "patients.csv"))) == (2, 1)


@pytest.mark.parametrize(
    ("out", "linkage"), [("out", "/proc/zz/l.csv"), ("/proc/zz/out", "l.csv"), ("out", "file/l.csv")]
)
def test_places_that_cannot_be_written_are_refused_before_any_work(tmp_path, monkeypatch, out, linkage):
    write_series(tmp_path / "in", n=1)
    (tmp_path / "file").write_text("x")
    monkeypatch.setattr("scripts.deidentification.copying.list_files", None)
    with pytest.raises(InputError, match=r"cannot be (written|used)|is a file where a folder is needed"):
        deidentify(str(tmp_path / "in"), str(tmp_path / out), str(tmp_path / linkage))


def test_a_second_run_keeps_what_the_first_refused(tmp_path):
    for name in ("a", "b"):
        write_series(tmp_path / name, name, n=1)
        (tmp_path / name / f"{name}.txt").write_text("x")
        run(tmp_path / name, f"out {name}")
    assert set(refused(tmp_path)) == {"a.txt", "b.txt"}


def test_pipes_and_links_are_not_opened_but_listed(tmp_path):
    write_series(tmp_path / "in", n=1)
    os.mkfifo(tmp_path / "in" / "pipe")
    (tmp_path / "in" / "broken").symlink_to(tmp_path / "absent")
    (tmp_path / "in" / "folder").symlink_to(tmp_path)
    assert len(images(run(tmp_path / "in"))) == 1
    assert set(refused(tmp_path)) == {"pipe", "broken", "folder"}


TABLE = [Tag(tag[:2]) for tag in dicomfields_2026c.ALL_TAGS if len(tag) == 2]
UID_TAGS = {Tag(tag) for tag in [*dicomfields_2026c.U_TAGS, *dicomfields_2026c.X_Z_U_STAR_TAGS]}


def test_the_rules_keep_nothing_that_table_e_1_1_removes():
    # UIDs are replaced, references to them too; dates are shifted (option 113107); everything else of the table must go
    assert len(TABLE) > 600
    survivors = []
    for tag in TABLE:
        vr = dictionary_VR(tag) if dictionary_has_tag(tag) else "LO"
        ds = Dataset()
        ds.add_new(tag, vr.split(" or ")[0], [Dataset()] if vr == "SQ" else None)
        survivors += [tag for _ in kept_elements(ds, Linkage("00" * 32), 500)]
    assert {tag for tag in survivors if tag not in UID_TAGS and tag not in DATED} == set()


def test_what_is_emptied_is_there_and_empty():
    ds = axial_t2("A", "T2", 0)
    ds.file_meta = Dataset()
    result = clean(ds, Linkage("00" * 32), ImplicitVRLittleEndian)
    assert {str(result[keyword].value or "") for keyword in EMPTY} == {""}


@pytest.mark.skipif(which("dciodvfy") is None, reason="dciodvfy of dicom3tools is not installed")
def test_dciodvfy_finds_no_new_error(source):
    def errors(path: Path) -> set[str]:
        done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, errors="replace", check=False)
        return {line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")}

    assert errors(images(run(source))[0]) <= errors(source / "Doe0.dcm")
