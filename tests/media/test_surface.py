from semeia.media.surface import Surface, fitted, text_width, wrapped


def test_long_text_is_cut_with_dots():
    assert fitted("short", 10, 1000) == "short"
    cut = fitted("a long line of many words", 10, 60)
    assert cut.endswith("…")
    assert text_width(cut, 10) <= 60


def test_words_wrap_into_the_lines_that_are_there():
    words = ["brown hair", "no beard", "smiling", "young"]
    assert wrapped(words, 10, 1000, lines=2) == ["brown hair, no beard, smiling, young"]
    two = wrapped(words, 10, 80, lines=2)
    assert [len(two), two[1][-1]] == [2, "…"]
    assert all(text_width(line, 10) <= 80 for line in two)
    assert wrapped([], 10, 100, lines=2) == []


def test_drawing_is_smooth_and_has_the_size_asked_for():
    surface = Surface((20, 10), detail=3)
    surface.dot((10, 5), 4, (255, 0, 0))
    drawn = surface.finish()
    assert drawn.size == (20, 10)
    assert drawn.getpixel((10, 5)) == (255, 0, 0, 255)
    assert drawn.getpixel((0, 0))[3] == 0
    assert len({drawn.getpixel((x, 2))[3] for x in range(20)} - {0, 255}) > 0
