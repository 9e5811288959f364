"""A file that ends every process that reads its header is unreadable, and costs no other file."""

from __future__ import annotations

import pytest
from dicom_fixtures import write_series

from scripts.dicom import sources
from scripts.dicom.sources import read_all


@pytest.fixture
def files(tmp_path, monkeypatch) -> list[str]:
    """Twelve files, which make six chunks."""
    monkeypatch.setattr(sources, "CHUNK", 2)
    monkeypatch.setattr(sources, "FEWEST", 12)
    return sorted(map(str, write_series(tmp_path / "in", n=12)))


def test_only_a_file_that_ends_every_process_is_unreadable(files):
    def first_dies(work, groups, again=None):
        for group in groups:
            if files[0] in group:
                yield group[:1], None
                group = group[1:]
            yield group, work(group)

    found = read_all(files, first_dies)
    assert sorted(frame.path for frame in found.frames) == files[1:]
    ((path, reason),) = found.unreadable
    assert path == files[0]
    assert "ends every process that reads it" in reason
    assert found.no_images == []


def test_few_files_are_read_without_other_processes(files):
    def nobody(*_):
        pytest.fail("other processes were asked")

    assert len(read_all(files[:11], nobody).frames) == 11
