"""Answers: saved at once, taken back, kept apart; agreement, and the rankings made of them."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instance_composer.rankings.agreement import agreement, kendalls_w
from instance_composer.rankings.answers import (
    Answer,
    AnswerFile,
    all_answers,
    annotators,
    check_answer,
    check_name,
)
from instance_composer.rankings.errors import GalleryError
from instance_composer.rankings.gallery import Gallery, Member, Prompt
from instance_composer.rankings.merging import merge, preference_lines, rankings, read_rankings

BOOK = Prompt("attribute", 0, "a red book")
BOOK_QUESTION = (BOOK.aspect, BOOK.number)


def answer(*places: tuple[str, ...], prompt: Prompt = BOOK) -> Answer:
    return Answer(prompt.aspect, prompt.number, prompt.text, places)


def strict(order: str, prompt: Prompt = BOOK) -> Answer:
    return answer(*((one,) for one in order), prompt=prompt)


def test_the_last_answer_counts_and_undo_brings_back_the_one_before(tmp_path):
    file = AnswerFile(tmp_path, "Ana")
    file.add(strict("abc"))
    file.add(strict("cba"))
    assert file.answers() == {("attribute", 0): strict("cba")}
    assert file.undo() == strict("cba")
    assert AnswerFile(tmp_path, "Ana").answers() == {("attribute", 0): strict("abc")}
    assert file.undo() == strict("abc")
    assert file.undo() is None
    assert file.answers() == {}
    file.add(strict("bca"))
    assert file.answers() == {("attribute", 0): strict("bca")}


def test_a_killed_writer_costs_its_half_line_alone(tmp_path):
    file = AnswerFile(tmp_path, "Ana")
    file.add(strict("abc"))
    with file.path.open("ab") as half:
        half.write(b'{"aspect": "attribute", "number": 1, "prom')
    assert file.answers() == {("attribute", 0): strict("abc")}
    later = Prompt("spatial", 3, "a cat on a mat")
    file.add(strict("cab", later))
    assert file.answers() == {("attribute", 0): strict("abc"), ("spatial", 3): strict("cab", later)}


def test_a_last_answer_without_its_newline_counts_and_is_kept(tmp_path):
    """As an editor or a hand leaves it."""
    file = AnswerFile(tmp_path, "Ana")
    file.add(strict("abc"))
    file.path.write_bytes(file.path.read_bytes().rstrip(b"\n"))
    assert file.answers() == {("attribute", 0): strict("abc")}
    later = Prompt("spatial", 3, "a cat on a mat")
    file.add(strict("cab", later))
    assert file.answers() == {("attribute", 0): strict("abc"), ("spatial", 3): strict("cab", later)}


def test_a_byte_order_mark_is_no_part_of_the_first_answer(tmp_path):
    file = AnswerFile(tmp_path, "Ana")
    file.add(strict("abc"))
    file.path.write_bytes(b"\xef\xbb\xbf" + file.path.read_bytes())
    assert file.answers() == {("attribute", 0): strict("abc")}
    # Nor is a half line behind it.
    file.path.write_bytes(b"\xef\xbb\xbf" + b'{"aspect"')
    file.add(strict("cba"))
    assert file.answers() == {("attribute", 0): strict("cba")}


def test_a_letter_cut_in_the_middle_costs_its_half_line_alone(tmp_path):
    file = AnswerFile(tmp_path, "Ana")
    file.add(strict("abc"))
    with file.path.open("ab") as half:
        half.write('{"prompt": "书'.encode()[:-1])
    assert file.answers() == {("attribute", 0): strict("abc")}


def test_files_are_read_under_the_names_they_have(tmp_path):
    """Copies of other programs, whose names this one would have written otherwise."""
    AnswerFile(tmp_path, "ann").add(strict("abc"))
    folder = tmp_path / "answers"
    (folder / "ann.jsonl").rename(folder / "ann (laptop).jsonl")
    (folder / "._ann.jsonl").write_bytes(b"\x00\x05\x16\x07\xff")
    assert all_answers(tmp_path) == {"ann (laptop)": {("attribute", 0): strict("abc")}}
    # Who goes on under that name goes on in that file.
    AnswerFile(tmp_path, "ann (laptop)").add(strict("cba"))
    assert all_answers(tmp_path) == {"ann (laptop)": {("attribute", 0): strict("cba")}}
    (folder / "ann %28laptop%29.jsonl").write_bytes(b"")
    with pytest.raises(GalleryError, match=r"are both of 'ann \(laptop\)'; put their lines into one file"):
        all_answers(tmp_path)


def test_a_file_that_is_no_text_is_named(tmp_path):
    file = AnswerFile(tmp_path, "Ana")
    file.add(strict("abc"))
    file.path.write_bytes(file.path.read_bytes() + b"\xff\xfe\n")
    with pytest.raises(GalleryError, match=r"Ana\.jsonl, line 2 is not UTF-8 text"):
        all_answers(tmp_path)


ANSWERING = """
import sys
from pathlib import Path
from instance_composer.rankings.answers import Answer, AnswerFile
file = AnswerFile(Path(sys.argv[1]), "Ana")
for number in range(10**6):
    file.add(Answer("attribute", number, "p", (("a",), ("b",))))
    print(number, flush=True)
"""


def test_a_process_killed_in_the_middle_loses_no_answer_that_it_confirmed(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", ANSWERING, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= 20:
            break
    process.kill()
    confirmed = 20 + len(process.stdout.read().split())
    process.wait()
    process.stdout.close()
    assert len(AnswerFile(tmp_path, "Ana").answers()) >= confirmed + 1


def test_prompts_may_hold_what_other_programs_end_lines_with(tmp_path):
    own = strict("ab", Prompt("attribute", 0, "a red\u2028book\x85on grey"))
    AnswerFile(tmp_path, "Ana").add(own)
    assert AnswerFile(tmp_path, "Ana").answers() == {own.question: own}


def test_annotators_do_not_touch_each_other(tmp_path):
    """Two who answer at once, one of them in two windows."""
    ana, bo = AnswerFile(tmp_path, "Ana"), AnswerFile(tmp_path, "Bo")

    def work(file: AnswerFile, numbers: range) -> None:
        for number in numbers:
            file.add(Answer("attribute", number, "p", (("a",), ("b",))))

    threads = [
        threading.Thread(target=work, args=args)
        for args in ((ana, range(20)), (ana, range(20, 40)), (bo, range(30)))
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    found = all_answers(tmp_path)
    assert {name: len(own) for name, own in found.items()} == {"Ana": 40, "Bo": 30}


@pytest.mark.parametrize("name", ["../x", "李 雷", "a/b", "x%2F", "."])
def test_any_name_is_a_file_of_its_own(name, tmp_path):
    AnswerFile(tmp_path, name).add(strict("ab"))
    assert annotators(tmp_path) == [name]
    assert [file.parent for file in tmp_path.rglob("*.jsonl")] == [tmp_path / "answers"]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("Ana", "Ana"),
        ("李 雷", "%E6%9D%8E %E9%9B%B7"),
        ("书" * 27, "%E4%B9%A6" * 27),
        # Devices on Windows.
        ("con", "%63on"),
        ("NUL", "%4EUL"),
        ("com1.x", "%63om1.x"),
        ("aux .b", "%61ux .b"),
        ("Conny", "Conny"),
        # Hidden elsewhere.
        (".", "%2E"),
        ("..", "%2E."),
        (".ana", "%2Eana"),
    ],
)
def test_names_are_those_of_files_on_every_system(name, file, tmp_path):
    AnswerFile(tmp_path, name).add(strict("ab"))
    assert [one.name for one in (tmp_path / "answers").iterdir()] == [f"{file}.jsonl"]
    assert all_answers(tmp_path) == {name: {BOOK_QUESTION: strict("ab")}}


@pytest.mark.parametrize("name", ["书" * 28, "ก" * 28, "🙂" * 21, "con" + "书" * 28])
def test_a_name_too_long_for_a_file_is_told_before_the_first_answer(name):
    with pytest.raises(GalleryError, match="is too long for the name of a file"):
        check_name(name)


def test_upper_and_lower_case_are_one_annotators_unless_both_have_answered_before(tmp_path):
    AnswerFile(tmp_path, "Ann").add(strict("abc"))
    other = AnswerFile(tmp_path, "ann")
    other.add(strict("cba"))
    assert other.annotator == "Ann"
    assert all_answers(tmp_path) == {"Ann": {BOOK_QUESTION: strict("cba")}}
    (tmp_path / "answers" / "ann.jsonl").write_bytes(b"")
    if len(annotators(tmp_path)) == 2:  # where the file system tells them apart
        AnswerFile(tmp_path, "ann").add(strict("bca"))
        assert {name: [*own.values()] for name, own in all_answers(tmp_path).items()} == {
            "Ann": [strict("cba")],
            "ann": [strict("bca")],
        }


@pytest.mark.parametrize("name", ["", " \n", "x" * 61, "a\x00b"])
def test_no_name_is_told(name):
    with pytest.raises(GalleryError, match="an annotator's name has 1 to 60 characters"):
        check_name(name)


def test_the_pictures_of_an_answer_are_kept_and_a_model_names_its_file(tmp_path):
    file = AnswerFile(tmp_path, "judge model")
    own = Answer(BOOK.aspect, BOOK.number, BOOK.text, (("a",), ("b",)), {"a": "1f", "b": "2e"})
    assert file.is_of_judge("first")
    file.add(own)
    assert file.answers() == {BOOK_QUESTION: own}
    assert file.is_of_judge("first")
    assert not file.is_of_judge("second")
    assert own.is_of({"a": "1f", "c": "3d"})
    assert not own.is_of({"a": "1f", "b": "other"})


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "[]",
        '{"aspect": "spatial", "number": 1, "prompt": "p", "places": [], "pictures": 7}',
        '{"aspect": "attribute"}',
        '{"places": [[]], "aspect": 1}',
    ],
)
def test_a_line_that_is_no_answer_is_told(line, tmp_path):
    file = AnswerFile(tmp_path, "Ana")
    file.add(strict("ab"))
    file.path.write_text(file.path.read_text() + line + "\n")
    with pytest.raises(GalleryError, match="line 2 is no"):
        file.answers()


def test_an_answer_places_every_picture_once_or_none():
    assert check_answer([["b"], ["a", "c"]], BOOK, ["a", "b", "c"]) == answer(("b",), ("a", "c"))
    assert check_answer([], BOOK, ["a", "b"]).places == ()
    for wrong in ([["a"]], [["a"], ["a", "b"]], [["a"], ["d"]], "ab", [["a", 1]], [[], ["a", "b"]], None):
        with pytest.raises(GalleryError, match="an answer"):
            check_answer(wrong, BOOK, ["a", "b"])


def test_kendalls_w_of_a_worked_example():
    """Three judges of four things: squared distances of the sums from 7.5, out of 45 that are possible."""
    rows = ("abcd", "acbd", "bcad")
    ranks = [strict(row).ranks for row in rows]
    sums = {thing: sum(one[thing] for one in ranks) for thing in "abcd"}
    assert sums == {"a": 5, "b": 6, "c": 7, "d": 12}
    spread = 2.5**2 + 1.5**2 + 0.5**2 + 4.5**2
    assert kendalls_w(ranks) == pytest.approx(spread / 45)


orders = st.lists(st.integers(0, 3), min_size=4, max_size=4)


def of_values(values: list[int]) -> Answer:
    things = dict(zip("abcd", values, strict=True))
    return answer(*(tuple(t for t in things if things[t] == v) for v in sorted(set(values))))


@given(st.lists(orders, min_size=2, max_size=4), st.randoms())
def test_w_is_between_no_and_one_opinion_whoever_is_first(rows, chance: random.Random):
    ranks = [of_values(row).ranks for row in rows]
    found = kendalls_w(ranks)
    if found is not None:
        assert -1e-12 <= found <= 1 + 1e-12
        shuffled = ranks[:]
        chance.shuffle(shuffled)
        assert kendalls_w(shuffled) == pytest.approx(found)
    same = kendalls_w([ranks[0]] * 3)
    assert same is None or same == pytest.approx(1.0)


def test_opposite_opinions_are_none_and_ties_are_corrected_for():
    assert kendalls_w([strict("abc").ranks, strict("cba").ranks]) == 0.0
    tied = answer(("a",), ("b", "c")).ranks
    assert tied == {"a": 1.0, "b": 2.5, "c": 2.5}
    assert kendalls_w([tied, tied]) == pytest.approx(1.0)
    assert kendalls_w([answer(("a", "b")).ranks] * 2) is None
    assert kendalls_w([strict("ab").ranks]) is None
    with pytest.raises(ValueError, match="must have ranked the same things"):
        kendalls_w([strict("ab").ranks, strict("ac").ranks])


def test_agreement_counts_questions_with_several_opinions():
    second = Prompt("attribute", 1, "p")
    answers = {
        "Ana": {("attribute", 0): strict("abc"), ("attribute", 1): strict("abc", second)},
        "Bo": {("attribute", 0): strict("cba"), ("attribute", 1): answer(prompt=second)},
        "Cy": {("attribute", 0): strict("ab"), ("attribute", 1): strict("abc", second)},
    }
    found = agreement(answers)["attribute"]
    assert (found.questions, found.annotators) == (2, 3)
    assert found.w == pytest.approx((0.0 + 1.0) / 2)
    assert agreement({"Ana": {("spatial", 0): strict("ab", Prompt("spatial", 0, "p"))}})["spatial"].w is None


def test_answers_to_prompts_that_share_a_number_are_not_compared():
    """As after a line was added to the file of prompts."""
    later = Prompt(BOOK.aspect, BOOK.number, "a blue book")
    answers = {
        "Ana": {BOOK_QUESTION: strict("abc")},
        "Bo": {BOOK_QUESTION: strict("cba", later)},
        "Cy": {BOOK_QUESTION: strict("abc")},
    }
    found = agreement(answers)["attribute"]
    assert (found.w, found.questions, found.annotators) == (pytest.approx(1.0), 1, 2)
    del answers["Cy"]
    assert agreement(answers)["attribute"].w is None


def test_who_is_left_out_decides_nothing_between_the_others():
    """Two annotators who disagree about two members tie them, wherever one of them put a third."""
    for order in ("cab", "acb", "abc"):
        assert merge([strict(order), strict("ba")]) == (("a", "b"),)
    assert merge([answer(("a", "c"), ("b",)), strict("ba")]) == (("a", "b"),)


def test_rankings_are_the_mean_of_all_who_could_tell():
    assert merge([strict("abc"), strict("acb"), answer()]) == (("a",), ("b", "c"))
    assert merge([strict("abc"), strict("bca"), strict("bac")]) == (("b",), ("a",), ("c",))
    assert merge([answer(), answer()]) == ()
    assert merge([strict("abc"), strict("ba")]) == (("a", "b"),)


@pytest.fixture
def gallery():
    members = {name: Member(name, "folder", {"pictures": "x"}) for name in "abc"}
    return Gallery(Path("gallery.toml"), members, (BOOK, Prompt("spatial", 0, "a cat")), "a", (8, 8))


def test_answers_to_what_is_no_more_are_told_and_the_rest_counts(gallery):
    cat = gallery.prompts[1]
    answers = {
        "Ana": {("attribute", 0): strict("abcx"), ("spatial", 0): strict("ba", cat)},
        "Bo": {("spatial", 0): strict("ab", Prompt("spatial", 0, "a dog"))},
    }
    found, notes = rankings(gallery, answers)
    assert [(one.prompt, one.places) for one in found] == [
        (BOOK, (("a",), ("b",), ("c",))),
        (cat, (("b",), ("a",))),
    ]
    assert notes == [
        "1 answers of Ana rank x, which the gallery has not; they are left out",
        "1 answers of Bo are to prompts that the gallery has no more; they are left out",
    ]


def test_whom_not_all_ranked_has_no_place_and_is_told(gallery):
    answers = {"Ana": {("attribute", 0): strict("abc")}, "Bo": {("attribute", 0): strict("ba")}}
    found, notes = rankings(gallery, answers)
    assert [one.places for one in found] == [(("a", "b"),)]
    assert notes == ["1 rankings are without c, whom not all annotators ranked"]


def test_lines_name_files_from_their_folder_and_are_read_back(gallery, tmp_path):
    found, _ = rankings(gallery, {"Ana": {("attribute", 0): answer(("b",), ("a", "c"))}})
    (line,) = preference_lines(tmp_path, found, tmp_path / "iterations" / "0")
    assert line["images"] == [f"../../pictures/{m}/attribute/00000.png" for m in "bac"]
    assert line["ranks"] == {"attribute": [1, 2, 2]}
    assert read_rankings(gallery, [json.loads(json.dumps(line))]) == found
    pairs = preference_lines(tmp_path, found, tmp_path, frozenset("c"))
    assert pairs == [
        {
            "prompt": "a red book",
            "better": "pictures/b/attribute/00000.png",
            "worse": "pictures/c/attribute/00000.png",
            "aspect": "attribute",
        }
    ]
