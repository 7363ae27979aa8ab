"""What a checker's reply to a wrong and to a right answer must be."""

from simclr_tut import checks


def assert_names(name, candidate, said, capsys):
    """The one line printed names the mistake, and not all points are given."""
    result = getattr(checks, name)(candidate)
    assert said in result.message and result.score < 1, result.message
    assert len(capsys.readouterr().out.splitlines()) == 1


def assert_passes(name, candidate):
    """A right answer gets all points."""
    result = getattr(checks, name)(candidate)
    assert result.passed, result.message
