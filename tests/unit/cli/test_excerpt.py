from bcai.cli.excerpt import excerpt

SOURCE = "one\ntwo\nthree\nfour\nfive\nsix\n"


def test_it_shows_the_line_and_its_neighbours() -> None:
    lines = excerpt(SOURCE, 4)
    assert [line.number for line in lines] == [2, 3, 4, 5, 6]
    assert [line.text for line in lines if line.is_culprit] == ["four"]


def test_it_stops_at_the_edges() -> None:
    assert [line.number for line in excerpt(SOURCE, 1)] == [1, 2, 3]
    assert excerpt(SOURCE, 7) == []
    assert excerpt(SOURCE, 0) == []
