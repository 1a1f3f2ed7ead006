"""Records: dataclasses that are equal to themselves alone."""

from dataclasses import field, fields, replace

from graphc.ir.record import record


@record
class Base:
    size: int


@record
class Pair(Base):
    parts: tuple[int, ...] = field(default_factory=tuple)


@record
class Spoken:
    word: str

    def __repr__(self) -> str:
        return f"<{self.word}>"


def test_a_record_equals_itself_alone():
    one, other = Pair(3, (1, 2)), Pair(3, (1, 2))
    assert one == one and one != other and len({one, other}) == 2


def test_a_record_shows_its_fields_unless_it_says_otherwise():
    assert repr(Pair(3)) == "Pair(size=3, parts=())"
    assert repr(Base(3)) == "Base(size=3)"
    assert repr(Spoken("yes")) == "<yes>"


def test_records_are_dataclasses():
    assert [each.name for each in fields(Pair)] == ["size", "parts"]
    changed = replace(Pair(3, (1, 2)), size=4)
    assert (changed.size, changed.parts) == (4, (1, 2))
    match changed:
        case Pair(size, parts):
            assert (size, parts) == (4, (1, 2))
