"""The command line itself."""

from __future__ import annotations

import pytest

from scripts import __main__ as cli
from scripts.errors import InputError


def sample(*inputs: str, out: str, count: int = 2, share: float = 0.5, force: bool = False) -> None:
    """Do something."""


def test_a_misspelt_flag_is_refused_before_anything_runs_and_the_right_one_is_named():
    with pytest.raises(InputError, match=r"unknown option --oot; did you mean --out\?"):
        cli.check_flags(sample, ["a", "--oot=1e3"])
    cli.check_flags(sample, ["a", "--out", "x", "--force", "--noforce", "--count=3"])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["1e3", "--out=1e3"], (("1e3",), "1e3", 2, 0.5, False)),
        (["a", "b", "--out", "007", "--count", "3", "--share=1e-2", "--force"], (("a", "b"), "007", 3, 0.01, True)),
        (["a", "--out=x", "--force", "true"], (("a",), "x", 2, 0.5, True)),
        (["a", "--out=x", "--force=False"], (("a",), "x", 2, 0.5, False)),
    ],
)
def test_arguments_arrive_as_their_annotations_say(arguments, expected, monkeypatch):
    import fire

    seen = []

    def command(*inputs: str, out: str, count: int = 2, share: float = 0.5, force: bool = False) -> None:
        seen.append((inputs, out, count, share, force))

    fire.Fire(cli.typed(command), command=arguments)
    assert seen == [expected]


def test_values_that_are_no_numbers_or_flags_are_refused():
    for reader, text in ((cli.as_number, "many"), (cli.as_bool, "perhaps")):
        with pytest.raises(InputError, match=f"got '{text}'"):
            reader(text)


def test_an_unknown_command_is_answered_with_the_nearest_one(capsys):
    assert cli.main(["predct"]) == 2
    assert "did you mean predict?" in capsys.readouterr().err


def test_an_input_error_becomes_a_sentence_and_status_2(capsys, tmp_path):
    assert cli.main(["predict", "x", "--out", str(tmp_path), "--weights", str(tmp_path / "none.pt")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: no checkpoint at")
    assert "Traceback" not in error


def test_the_overview_lists_every_command(capsys):
    assert cli.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in cli.COMMANDS)
