"""What the user names is a value; MONAI's config language never reads it."""

from __future__ import annotations

from pathlib import Path

import pytest
from monai.bundle import ConfigParser

from scripts.runner import literals, run_config

NAMES = [
    *("$RECYCLE.BIN", "$(touch evil)", "$__import__('pathlib').Path('evil').touch()", "@home", "@output_dir", "a#b"),
    *("key::sub", "%macro", "%output_dir", "with space", "ünïcode", "-dash", "@given", "plain", "$1 + 1", "a@b", "'\""),
]


@pytest.mark.parametrize("name", NAMES)
def test_a_text_from_python_is_a_value_wherever_a_config_uses_it(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parser = ConfigParser(
        {
            "output_dir": "x",
            "ckpt_dir": "$@output_dir + '/models'",
            "copy": "%output_dir",
            "deep": {"list": ["@output_dir", {"name": "@output_dir"}]},
            "made": {"_target_": "builtins.dict", "folder": "@output_dir", "file": "$@ckpt_dir + '/model.pt'"},
        }
    )
    for key, value in literals({"output_dir": name, "deep#kind": name, "deep#list#1#name": Path(name)}).items():
        parser[key] = value
    parser.parse()
    assert parser.get_parsed_content("output_dir") == name
    assert parser.get_parsed_content("ckpt_dir") == f"{name}/models"
    assert parser.get_parsed_content("copy") == name
    assert parser.get_parsed_content("made") == {"folder": name, "file": f"{name}/models/model.pt"}
    assert parser.get_parsed_content("deep#kind") == name
    assert parser.get_parsed_content("deep#list#0") == name
    assert parser.get_parsed_content("deep#list#1#name") == Path(name)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_text_stays_part_of_the_config():
    given = {"head": [8], "network": {"_target_": "builtins.dict", "a": "@head"}, "weights": None, "seed": 3}
    assert literals(given) == given


@pytest.mark.parametrize("name", ["$(touch evil)", "@home", "a#b, key::sub and %macro"])
def test_a_folder_of_any_name_reaches_a_shipped_config_as_it_is(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir()
    parser = run_config(
        ["train.json"], run_id="ckpt_dir", output_dir=f"{name}/run", dataset_dir=name, initialize=[],
    )  # fmt: skip
    assert parser.get_parsed_content("ckpt_dir") == f"{name}/run/models"
    assert parser.get_parsed_content("dataset_dir") == name
    assert [path.name for path in tmp_path.iterdir()] == [name]
