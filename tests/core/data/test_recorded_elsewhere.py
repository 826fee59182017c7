"""A run's images are looked for where its record says; from elsewhere the error says whose path that is."""

import pytest

from edgeosr.data.recorded import data_record, reopen_parts
from edgeosr.errors import EdgeosrError


def test_a_folder_that_is_not_here_is_named_as_the_run_s_own(tmp_path, monkeypatch):
    from PIL import Image

    from edgeosr.data.catalogue import open_image_set
    from edgeosr.data.parts import four_parts

    for red, name in ((0, "a"), (100, "b")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(8):
            Image.new("RGB", (4, 4), (red + i, 0, 0)).save(tmp_path / "photos" / name / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    parts = four_parts(open_image_set("photos/"))
    record = data_record(parts.record("photos/", "photos").as_json(), "run.json")
    assert reopen_parts(record)[1].known == ("a", "b")
    monkeypatch.chdir(tmp_path / "photos")
    with pytest.raises(EdgeosrError, match="photos/ is what the run was trained on"):
        reopen_parts(record)
