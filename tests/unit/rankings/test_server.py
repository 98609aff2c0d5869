"""The ranking page's server: for this machine and whoever has the address, and safe with what is sent."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import threading
from contextlib import contextmanager
from dataclasses import replace
from urllib.parse import urljoin, urlsplit

import pytest
from gallery_runs import ranking_run, write_gallery
from PIL import Image

from instance_composer.rankings.answers import Answer, AnswerFile, all_answers
from instance_composer.rankings.errors import GalleryError
from instance_composer.rankings.gallery import Member
from instance_composer.rankings.merging import rankings
from instance_composer.rankings.pictures import picture_file, write_picture
from instance_composer.rankings.questions import of_these_pictures
from instance_composer.rankings.server import RankingServer


@contextmanager
def serving(run, gallery):
    server = RankingServer(run, gallery)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def server(tmp_path):
    with serving(tmp_path, ranking_run(tmp_path)) as running:
        yield running


def request(server, method: str, path: str, body=None, headers=None, host=None):
    port = server.server_address[1]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    sent = {"Content-Type": "application/json", **(headers or {})}
    if host is not None:
        sent["Host"] = host
    content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    connection.request(method, path, content, sent)
    response = connection.getresponse()
    data = response.read()
    connection.close()
    return response.status, data, response.headers


def post(server, action: str, **values):
    status, data, _ = request(server, "POST", f"/{server.token}/{action}", {"annotator": "Ana", **values})
    return status, json.loads(data)


def test_it_listens_on_loopback_alone_and_every_start_has_a_token_of_its_own(server, tmp_path):
    assert server.server_address[0] == "127.0.0.1"
    assert len(server.token) >= 20
    with serving(tmp_path, server.gallery) as other:
        assert other.token != server.token


@pytest.mark.parametrize("path", ["/", "/page.mjs", "/x/", "/x/next", "/%s", "/%sx/"])
def test_without_the_token_nothing_is_told(path, server):
    status, data, _ = request(server, "GET", path.replace("%s", server.token))
    assert status == 403
    assert json.loads(data) == {"error": "open the whole address that the program printed"}
    status, _, _ = request(server, "POST", path.replace("%s", server.token), {"annotator": "Ana"})
    assert status == 403


def test_under_another_hosts_name_nothing_is_told(server):
    for host in ("evil.example", f"evil.example:{server.server_address[1]}", "127.0.0.1"):
        assert request(server, "GET", f"/{server.token}/", host=host)[0] == 403
    port = server.server_address[1]
    assert request(server, "GET", f"/{server.token}/", host=f"localhost:{port}")[0] == 200


def test_the_page_is_its_own_files_and_no_others(server):
    status, data, headers = request(server, "GET", f"/{server.token}/")
    assert (status, b"page.mjs" in data) == (200, True)
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    for name in (
        "../server.py",
        "..%2fserver.py",
        "/etc/passwd",
        "nothing.json",
        "picture/attribute/0/9/Ana",
    ):
        assert request(server, "GET", f"/{server.token}/{name}")[0] == 404, name


def test_a_form_of_another_page_answers_nothing(server):
    body = {"annotator": "Ana", "aspect": "attribute", "number": 0, "places": []}
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        status, _, _ = request(
            server, "POST", f"/{server.token}/answer", body, headers={"Content-Type": kind}
        )
        assert status == 404
    assert all_answers(server.run) == {}


def test_questions_come_in_order_and_pictures_do_not_tell_whose_they_are(server):
    _, found = post(server, "next")
    question = found["question"]
    assert (question["aspect"], question["number"], question["places"]) == ("attribute", 0, [])
    assert found["progress"] == {"done": 0, "all": 6, "aspect": {"done": 0, "all": 3}}
    assert not any(name in json.dumps(question) for name in ("right", "other", "third"))
    asked = server.by_question["attribute", 0]
    for number, path in enumerate(question["pictures"]):
        status, data, headers = request(server, "GET", f"/{server.token}/{path}")
        shown = asked.shown_to("Ana")[number]
        assert (status, headers["Content-Type"]) == (200, "image/png")
        assert data == picture_file(server.run, shown, asked.prompt).read_bytes()
    orders = {tuple(one.shown_to(f"person {n}")) for one in server.asked for n in range(9)}
    assert len(orders) == 6


def test_an_answer_is_on_disk_before_it_is_confirmed_and_names_members(server):
    _, found = post(server, "answer", aspect="attribute", number=0, places=[[2], [0, 1]])
    shown = server.by_question["attribute", 0].shown_to("Ana")
    (answer,) = AnswerFile(server.run, "Ana").answers().values()
    assert answer.places == ((shown[2],), (shown[0], shown[1]))
    assert (found["question"]["number"], found["progress"]["done"]) == (1, 1)
    _, found = post(server, "undo")
    assert found["undone"]
    assert (found["question"]["number"], found["question"]["places"]) == (0, [[2], [0, 1]])
    assert post(server, "undo")[1]["undone"] is False


def test_undo_leaves_answers_to_what_is_not_asked_here_any_more(tmp_path):
    gallery = ranking_run(tmp_path)
    with serving(tmp_path, gallery) as server:
        for asked in server.asked:
            places = [[number] for number in range(len(asked.members))]
            post(server, "answer", aspect=asked.prompt.aspect, number=asked.prompt.number, places=places)
        count = len(server.asked)
        last = server.asked[-1].prompt
    fewer = replace(gallery, prompts=tuple(one for one in gallery.prompts if one != last))
    with serving(tmp_path, fewer) as server:
        for _ in range(count - 1):
            found = post(server, "undo")[1]
            assert found["undone"]
            assert found["question"]["places"], "the question of the answer that was taken back"
        assert post(server, "undo")[1]["undone"] is False
    (left,) = AnswerFile(tmp_path, "Ana").answers().values()
    assert left.question == (last.aspect, last.number)


def test_everything_answered_leaves_no_question(server):
    found = post(server, "next")[1]
    while found["question"]:
        own = {key: found["question"][key] for key in ("aspect", "number")}
        found = post(server, "answer", **own, places=[])[1]
    assert found["progress"] == {"done": 6, "all": 6, "aspect": {"done": 0, "all": 0}}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"places": [[0], [1]]}, "an answer has a place for each of"),
        ({"places": [[0], [1], [1, 2]]}, "an answer has a place for each of"),
        ({"places": [[0], [1], [3]]}, "each a list of numbers of pictures"),
        ({"places": [["right"]]}, "each a list of numbers of pictures"),
        ({"places": [[True], [1], [2]]}, "each a list of numbers of pictures"),
        ({"places": None}, "each a list of numbers of pictures"),
        ({"number": 99, "places": []}, "there is no such question any more"),
        ({"aspect": [], "places": []}, "unhashable|no such question"),
        ({"annotator": " "}, "an annotator's name has 1 to 60 characters"),
        ({"annotator": 7}, "an answer needs the annotator's name"),
    ],
)
def test_what_is_no_answer_is_told_and_not_kept(values, sentence, server):
    import re

    status, found = post(server, "answer", **{"aspect": "attribute", "number": 0, **values})
    assert status == 400
    assert re.search(sentence, found["error"])
    assert all_answers(server.run) in ({}, {"Ana": {}})


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b'"Ana"'])
def test_a_body_that_is_no_json_is_told(body, server):
    assert request(server, "POST", f"/{server.token}/next", body)[0] == 400


def test_a_body_without_end_is_refused(server):
    headers = {"Content-Length": "100001"}
    assert request(server, "POST", f"/{server.token}/next", b"{}", headers)[0] == 413


def test_two_annotators_at_once_keep_their_own(server):
    def answer_all(name: str) -> None:
        found = post(server, "next", annotator=name)[1]
        while found["question"]:
            own = {key: found["question"][key] for key in ("aspect", "number")}
            found = post(server, "answer", annotator=name, **own, places=[[0], [1], [2]])[1]

    threads = [threading.Thread(target=answer_all, args=(name,)) for name in ("Ana", "Bo")]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert {name: len(own) for name, own in all_answers(server.run).items()} == {"Ana": 6, "Bo": 6}


def test_pictures_that_are_missing_are_told_and_the_rest_is_asked(tmp_path):
    gallery = ranking_run(tmp_path)
    picture_file(tmp_path, "third", gallery.prompts[0]).unlink()
    for member in ("right", "other"):
        picture_file(tmp_path, member, gallery.prompts[1]).unlink()
    with serving(tmp_path, gallery) as server:
        assert [len(one.members) for one in server.asked] == [2, 3, 3, 3, 3]
        assert "third has no picture of 1 of 6 prompts; they are ranked without it" in server.notes


def test_a_member_that_has_its_pictures_later_is_asked_about_and_one_that_left_is_not(tmp_path):
    gallery = ranking_run(tmp_path)
    file = AnswerFile(tmp_path, "Ana")
    with serving(tmp_path, gallery) as server:
        for one in server.asked:
            places = tuple((name,) for name in one.members)
            file.add(Answer(*one.question, one.prompt.text, places))
        assert server.next_for("Ana")["question"] is None
    first = gallery.prompts[0]
    picture_file(tmp_path, "third", first).unlink()
    with serving(tmp_path, gallery) as server:
        assert server.next_for("Ana")["question"] is None
    late = Member("late", "folder", {"pictures": "x"})
    write_picture(picture_file(tmp_path, "late", first), Image.new("RGB", (64, 64)), {"prompt": first.text})
    with serving(tmp_path, gallery.with_members([late])) as server:
        assert server.next_for("Ana")["question"]["number"] == first.number


def test_a_picture_that_was_made_anew_is_asked_about_again(tmp_path):
    gallery = ranking_run(tmp_path)
    first, second = gallery.prompts[:2]
    with serving(tmp_path, gallery) as server:
        post(server, "answer", aspect="attribute", number=0, places=[[0], [1], [2]])
        post(server, "answer", aspect="attribute", number=1, places=[])
        assert post(server, "next")[1]["progress"]["done"] == 2
    for prompt in (first, second):
        image = Image.new("RGB", (64, 64), "red")
        write_picture(picture_file(tmp_path, "third", prompt), image, {"prompt": prompt.text})
    answers, notes = of_these_pictures(tmp_path, gallery, all_answers(tmp_path))
    assert rankings(gallery, answers) == ([], [])
    assert notes == ["2 answers of Ana are to earlier pictures; they are left out until they are given again"]
    with serving(tmp_path, gallery) as server:
        found = post(server, "next")[1]
        assert (found["question"]["number"], found["progress"]["done"]) == (0, 0)
        # Nor are the places of other pictures filled in where it is taken back.
        assert post(server, "undo")[1]["question"]["number"] == 1
        assert post(server, "undo")[1]["question"]["places"] == []
        post(server, "answer", aspect="attribute", number=0, places=[[2], [1], [0]])
        assert post(server, "next")[1]["progress"]["done"] == 1
    answers, notes = of_these_pictures(tmp_path, gallery, all_answers(tmp_path))
    assert [one.prompt for one in rankings(gallery, answers)[0]] == [first]
    assert notes == []
    # A picture that is no more decides nothing, as before.
    picture_file(tmp_path, "third", first).unlink()
    assert of_these_pictures(tmp_path, gallery, all_answers(tmp_path))[0] == answers


def test_answers_that_do_not_say_their_pictures_count_as_before(tmp_path):
    gallery = ranking_run(tmp_path)
    first = gallery.prompts[0]
    AnswerFile(tmp_path, "Ana").add(Answer("attribute", 0, first.text, (("right",), ("other",), ("third",))))
    write_picture(picture_file(tmp_path, "third", first), Image.new("RGB", (64, 64)), {"prompt": first.text})
    answers, notes = of_these_pictures(tmp_path, gallery, all_answers(tmp_path))
    assert (len(answers["Ana"]), notes) == (1, [])
    with serving(tmp_path, gallery) as server:
        assert server.next_for("Ana")["progress"]["done"] == 1


@pytest.mark.parametrize("name", [".", "..", "~ana", "李 雷", "a/b"])
def test_pictures_come_under_any_name_as_a_browser_asks_for_them(name, server):
    question = post(server, "next", annotator=name)[1]["question"]
    base = f"http://127.0.0.1/{server.token}/"
    for path in question["pictures"]:
        asked = urlsplit(urljoin(base, path)).path
        assert request(server, "GET", asked)[0] == 200, asked


def test_a_name_in_other_letters_sees_the_same_order(server):
    """Who began as Ann and goes on as ann."""
    places = {name: post(server, "next", annotator=name)[1]["question"] for name in ("Ann", "ann")}
    asked = server.by_question["attribute", places["Ann"]["number"]]
    assert asked.shown_to("Ann") == asked.shown_to("ann")
    post(server, "answer", annotator="Ann", aspect="attribute", number=0, places=[[0], [1], [2]])
    post(server, "answer", annotator="ann", aspect="attribute", number=1, places=[[0], [1], [2]])
    assert {name: len(own) for name, own in all_answers(server.run).items()} == {"Ann": 2}


def no_request_is_at_work() -> None:
    for one in threading.enumerate():
        if "process_request_thread" in one.name:
            one.join(timeout=20)


def test_a_page_that_is_closed_in_the_middle_says_nothing(server, capfd):
    head = f"GET /{server.token}/ HTTP/1.1\r\nHost: 127.0.0.1:{server.server_address[1]}\r\n"
    for sent in (b"", head.encode(), f"{head}\r\n".encode()):
        connection = socket.create_connection(server.server_address)
        connection.sendall(sent)
        # Closed at once, as a browser does that no longer wants the answer.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    assert request(server, "GET", f"/{server.token}/")[0] == 200
    no_request_is_at_work()
    assert capfd.readouterr().err == ""


def test_faults_of_the_program_are_still_told(server, capfd, monkeypatch):
    def broken(*_: object) -> None:
        raise RuntimeError("the program is wrong")

    monkeypatch.setattr(server, "next_for", broken)
    with pytest.raises(http.client.RemoteDisconnected):
        post(server, "next")
    no_request_is_at_work()
    assert "the program is wrong" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "ftp://[", None, 400),
        ("POST", "ftp://[", b"{}", 400),
        ("GET", "/%s/picture/attribute/0/0/a%%00b", None, 400),
        ("GET", "/%s/picture/attribute/0/0/%%E2%%80%%8B", None, 400),
        ("GET", "/%s/picture/attribute/" + "9" * 5000 + "/0/Ana", None, 400),
        ("GET", "/%s/" + "a" * 300 + ".html", None, 404),
        ("POST", "/%s/next", b"[" * 50_000, 400),
    ],
)
def test_what_no_page_would_send_is_refused_without_a_traceback(method, path, body, status, server, capfd):
    path = path.replace("%s", server.token).replace("%%", "%")
    found, data, _ = request(server, method, path, body)
    assert found == status
    assert json.loads(data)["error"]
    no_request_is_at_work()
    assert capfd.readouterr().err == ""


def test_a_port_that_is_taken_is_told(server):
    port = server.server_address[1]
    with pytest.raises(GalleryError, match=rf"port {port} cannot be opened .*; give another with --port"):
        RankingServer(server.run, server.gallery, port)


def test_an_answer_to_another_prompt_is_not_filled_in_where_it_was_taken_back(tmp_path):
    gallery = ranking_run(tmp_path)
    with serving(tmp_path, gallery) as server:
        post(server, "answer", aspect="attribute", number=0, places=[[0], [1], [2]])
        assert post(server, "undo")[1]["question"]["places"] == [[0], [1], [2]]
    first = gallery.prompts[0]
    shown = server.by_question["attribute", 0].shown_to("Ana")
    stale = Answer("attribute", 0, "what stood here before", tuple((name,) for name in shown))
    AnswerFile(tmp_path, "Ana").add(stale)
    with serving(tmp_path, gallery) as server:
        question = post(server, "undo")[1]["question"]
        assert (question["prompt"], question["places"]) == (first.text, [])


def test_a_run_without_pictures_says_what_to_do(tmp_path):
    gallery = write_gallery(tmp_path)
    with pytest.raises(GalleryError, match="no prompt with pictures of two members yet; sample them first"):
        RankingServer(tmp_path, gallery)
