"""The explorer over a real socket: who is answered, what is shown, and what is not."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import socket
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.errors import Interrupted
from harness.log.images import image_path
from harness.log.run_folder import RunFolder
from harness.report.build import Options, report
from harness.view.metrics import exposition
from harness.view.runs import Progress, progress
from tests.runs import run, stub_plan
from tests.stubs import make_stub_suite
from tests.view.serving import TOKEN, served


class Stay(urllib.request.HTTPRedirectHandler):
    """Answers a redirect as it came."""

    def redirect_request(self, *_: object) -> None:
        return None


@dataclass
class Client:
    """Asks the explorer. Has state: nothing but its address."""

    port: int

    def ask(
        self, path: str, *, token: str | None = TOKEN, method: str = "GET",
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, str, Mapping[str, str]]:  # fmt: skip
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method)
        if token is not None:
            request.add_header("Authorization", f"Bearer {token}")
        for name, value in (headers or {}).items():
            request.add_header(name, value)
        try:
            with urllib.request.build_opener(Stay).open(request, timeout=30) as answer:
                return answer.status, answer.read().decode(errors="replace"), dict(answer.headers)
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(errors="replace"), dict(error.headers)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("view")
    suite = make_stub_suite(root)[0]
    asks = {
        "wide": {"budget": 4},
        "chain": {"strategy": "reflect", "budget": 4},
        "hostile": {"budget": 2, "benchmark": "tests.report.conftest:HostileBenchmark"},
    }
    for name, ask in asks.items():
        run(stub_plan(suite, **ask), root / name)
    return [root / name for name in asks]


@pytest.fixture(scope="module")
def client(folders: list[Path]) -> Iterator[Client]:
    with served(folders) as port:
        yield Client(port)


PATHS = ("/", "/run/0", "/run/0/progress", "/run/0/chart", "/metrics", "/static/page.css")


@pytest.mark.parametrize("path", PATHS)
def test_nobody_is_answered_without_the_token(client: Client, path: str) -> None:
    for token in (None, "", TOKEN[:-1], TOKEN + "x", "ünicode"[1:]):
        code, text, _ = client.ask(path, token=token)
        assert code == 403 and "token" in text and "stub" not in text


def test_a_token_in_the_address_becomes_a_cookie_that_no_script_reads(client: Client) -> None:
    code, _, headers = client.ask(f"/run/0?token={TOKEN}&tag=odd", token=None)
    assert code == 303 and headers["location"] == "/run/0?tag=odd"
    cookie = headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie
    name = cookie.partition(";")[0]
    assert client.ask("/run/0", token=None, headers={"Cookie": name})[0] == 200


def raw(port: int, target: str, *lines: str) -> str:
    """Return the head of the answer to a request that no client would write."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        host = (
            ()
            if any(line.lower().startswith("host:") for line in lines)
            else (f"Host: 127.0.0.1:{port}",)
        )
        head = "\r\n".join([f"GET {target} HTTP/1.1", *host, "Connection: close", *lines])
        connection.sendall(f"{head}\r\n\r\n".encode("latin-1"))
        answer = b"".join(iter(lambda: connection.recv(2**16), b""))
    return answer.partition(b"\r\n\r\n")[0].decode("latin-1")


@pytest.mark.parametrize(
    "path",
    [
        *(
            "//evil.example",
            "///evil.example/",
            "/\\evil.example",
            "/%5Cevil.example",
            "\\\\evil.example",
        ),
        *("/%2F%2Fevil.example", "%2F%2Fevil.example", "/%2Fevil.example", "/.//evil.example"),
        *("http://evil.example/", "https:evil.example", "@evil.example/", ":80@evil.example/"),
        *("/%09/evil.example", "/%0D%0ALocation:%20http://evil.example", "javascript:alert(1)"),
        *("/x%3Ftoken=a", "/%23", "/run/0/../..//evil.example", "*", "/%00", "/%ff%fe"),
    ],
)
def test_a_token_leads_nowhere_else(client: Client, path: str) -> None:
    site = f"http://127.0.0.1:{client.port}"
    head = raw(client.port, f"{path}?a=%0D%0AX:&a=%26token%3Dx&token={TOKEN}")
    status = int(head.split()[1])
    assert status in (303, 400), head
    locations = [line for line in head.split("\r\n") if line.lower().startswith("location:")]
    assert len(locations) == (status == 303)
    for location in locations:
        where = urllib.parse.urljoin(f"{site}/", location.partition(":")[2].strip())
        assert where.startswith(f"{site}/") and "\\" not in where
        assert where.endswith("?a=%0D%0AX%3A&a=%26token%3Dx")


@pytest.mark.parametrize(
    "lines",
    [
        ("Host: evil.example",),
        ("Host: 127.0.0.1:{port}@evil.example",),
        ("Host: 127.0.0.1:{port}", "Host: evil.example"),
        ("Host: evil.example", "Host: 127.0.0.1:{port}"),
        ("Host:",),
    ],
)
def test_a_foreign_host_is_not_led_anywhere(client: Client, lines: Sequence[str]) -> None:
    head = raw(client.port, f"/?token={TOKEN}", *(line.format(port=client.port) for line in lines))
    assert head.split()[1] == "400"


def test_an_answer_names_no_host_but_its_own(client: Client) -> None:
    lines = ["X-Forwarded-Host: evil.example", "X-Forwarded-Proto: https", "Forwarded: host=evil"]
    assert "evil" not in raw(client.port, f"/run/0?token={TOKEN}", *lines)
    for path in ("//evil.example/", "//evil.example/run/0/", "/run/0/", "//static/page.css/"):
        head = raw(client.port, path, f"Authorization: Bearer {TOKEN}")
        assert "location: " not in head or f"location: http://127.0.0.1:{client.port}/" in head


@pytest.mark.parametrize("number", ["9" * 5000, "-1", "1e3", "٣", "99999999999999999999"])
def test_a_number_that_no_run_has(client: Client, number: str) -> None:
    number = urllib.parse.quote(number)
    for path in (f"/run/{number}", f"/run/{number}/progress", f"/compare/0/{number}"):
        assert client.ask(path)[0] == client.ask(f"{path}/chart")[0] == 404


def test_another_name_for_this_machine_is_refused(client: Client) -> None:
    assert client.ask("/", headers={"Host": "attacker.example"})[0] == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_changed(client: Client, method: str) -> None:
    assert client.ask("/run/0", method=method)[0] == 405


def test_every_answer_forbids_what_a_page_needs_not(client: Client) -> None:
    for path in ("/", "/run/0", "/nothing", "/run/99"):
        _, _, headers = client.ask(path)
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_all_runs_are_listed_with_their_scores(client: Client, folders: list[Path]) -> None:
    _, text, _ = client.ask("/")
    for folder in folders:
        assert str(folder) in text
    assert re.search(r"\d\.\d{3} \(", text) and "finished" in text


def test_the_list_is_sorted_and_its_links_lead_to_the_same_runs(
    client: Client, folders: list[Path]
) -> None:
    for order in ("name", "score", "cost", "date"):
        _, text, _ = client.ask(f"/?sort={order}")
        links = re.findall(r'href="/run/(\d)" title="([^"]+)">([^<]+)<', text)
        assert {(int(n), path) for n, path, _ in links} == {
            (n, str(folder)) for n, folder in enumerate(folders)
        }
        assert {name for *_, name in links} == {folder.name for folder in folders}
        if order == "name":
            assert [path for _, path, _ in links] == sorted(map(str, folders))
    assert client.ask("/?sort=nothing")[0] == 404


def test_a_run_says_how_it_was_made_and_what_it_spent(client: Client) -> None:
    _, text, _ = client.ask("/run/0")
    assert "How it was made" in text and "device-hours" in text and "budget" in text
    assert "device-hours" in json.loads(client.ask("/run/0/progress")[1])["spent"]


def test_a_run_shows_its_chains_and_its_progress(client: Client) -> None:
    code, text, _ = client.ask("/run/1")
    assert code == 200 and "judge: rejects" in text and "feedback on 0" in text
    progress = json.loads(client.ask("/run/1/progress")[1])
    assert progress["state"] == "finished"
    assert progress["searches"] == progress["searches_total"] > 0
    assert progress["micro"][1] <= progress["micro"][0] <= progress["micro"][2]


def test_prompts_are_found_by_words_tag_and_outcome(client: Client) -> None:
    everything = client.ask("/run/0")[1]
    prompts = re.findall(r"<h3>([^<]+)</h3>", everything)
    words = urllib.parse.quote(prompts[0].upper())
    assert re.findall(r"<h3>([^<]+)</h3>", client.ask(f"/run/0?words={words}")[1])[0] == prompts[0]
    odd = client.ask("/run/0?tag=odd")[1]
    assert 0 < odd.count("<h3>") < len(prompts) or odd.count("<h3>") == 0 < len(prompts)
    right = client.ask("/run/0?outcome=correct")[1]
    wrong = sum(client.ask(f"/run/0?outcome={name}")[1].count("<h3>")
                for name in ("fooled", "missed", "none", "unscored", "failed"))  # fmt: skip
    assert right.count("<h3>") + wrong == len(prompts)


def test_two_runs_stand_beside_each_other(client: Client) -> None:
    sides = [
        client.ask(f"/compare/0/1?outcome={outcome}")[1].count("<h3>")
        for outcome in ("*", "first", "second", "both", "neither")
    ]
    assert sides[0] == sum(sides[1:]) > 0
    assert sides[1:3] == [
        client.ask(f"/compare/1/0?outcome={outcome}")[1].count("<h3>")
        for outcome in ("second", "first")
    ]


@pytest.mark.slow
def test_a_chart_is_that_of_a_report(client: Client, folders: list[Path], tmp_path: Path) -> None:
    for path, sides in (("/run/1", folders[1:2]), ("/compare/0/1", folders[:2])):
        report(sides, tmp_path, Options(gallery=("none",)))
        page = (tmp_path / "index.html").read_text()
        part = client.ask(f"{path}/chart")[1]
        for pattern in (r'data-chart="([^"]+)"', r'(?s)<ul class="answer">.*?</ul>',
                        r"(?s)<div data-axis=.*?</table>"):  # fmt: skip
            assert re.findall(pattern, part)[0] == re.findall(pattern, page)[0]
    # Another benchmark's prompts are no comparison.
    code, text, _ = client.ask("/compare/0/2/chart")
    assert code == 422 and "not measured alike" in text


def test_images_are_those_of_the_run_alone(client: Client, folders: list[Path]) -> None:
    images = RunFolder(folders[0]).images
    digest = next(images.glob("*/*.png")).stem  # type: ignore[union-attr]
    assert client.ask(f"/run/0/image/{digest}")[0] == 200
    for name in (
        "..%2F..%2Fmanifest.json",
        "%2Fetc%2Fpasswd",
        "0" * 32,
        digest[:-1],
        digest.upper(),
    ):
        assert client.ask(f"/run/0/image/{name}")[0] == 404, name


def test_an_image_that_is_another_is_not_shown(client: Client, folders: list[Path]) -> None:
    images = RunFolder(folders[1]).images
    one, other = [path.stem for path in sorted(images.glob("*/*.png"))[:2]]  # type: ignore[type-var]
    path = image_path(images, one)
    data = path.read_bytes()
    try:
        shutil.copy(str(image_path(images, other)), str(path))
        assert client.ask(f"/run/1/image/{one}")[0] == 404
    finally:
        path.write_bytes(data)  # type: ignore[union-attr]


def test_hostile_texts_are_text(client: Client) -> None:
    text = client.ask("/run/2")[1]
    assert "<script>alert" not in text and "&lt;script&gt;alert(1)" in text
    assert text.count("<script") == text.count('<script src="/static/')
    text = client.ask("/run/2/chart")[1]
    assert "<script" not in text and "&lt;script&gt;" in text


def test_metrics_are_gauges(client: Client, folders: list[Path]) -> None:
    _, text, headers = client.ask("/metrics")
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    family, values = "", {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            family = line.split()[2]
            assert line.endswith(" gauge") and family not in dict(values)
        elif not line.startswith("# HELP "):
            match = re.fullmatch(r'(\w+)\{run="([^"]+)"\} (\S+)', line)
            assert match and match[1] == family, line
            values[family, match[2]] = float(match[3])
    state = json.loads(client.ask("/run/0/progress")[1])
    run_name = str(folders[0])
    assert values["harness_draws", run_name] == state["draws"] > 0
    assert values["harness_micro_score", run_name] == state["micro"][0]
    assert values["harness_running", run_name] == 0
    assert ("harness_seconds_left", run_name) not in values  # nobody knows it of an ended run


def test_labels_of_metrics_are_escaped() -> None:
    state = Progress("running", 1, 2, 3, 0, None, None, None,
                     {"nfe": 1.0, "flops": None, "device_seconds": 1.0}, "", None, 0)  # fmt: skip
    text = exposition({'a"b\\c\nd': state})
    assert r'harness_draws{run="a\"b\\c\nd"} 3.0' in text.splitlines()
    assert "harness_cost_flops{" not in text


def test_a_damaged_run_is_a_sentence(client: Client, folders: list[Path]) -> None:
    shard = next((folders[0] / "log").glob("candidates*"))
    data = shard.read_bytes()
    try:
        shard.write_bytes(data[: len(data) // 2])
        code, text, _ = client.ask("/run/0/progress")
        assert code == 422 and "damaged" in text and "Traceback" not in text
        assert client.ask("/")[0] == 200
    finally:
        shard.write_bytes(data)


def test_a_run_that_was_stopped_says_how_far_it_came(tmp_path: Path) -> None:
    turns = itertools.count()
    ready = stub_plan(make_stub_suite(tmp_path)[0], budget=4)
    with pytest.raises(Interrupted):
        run(ready, tmp_path / "run", stop=lambda: next(turns) > 6)
    state = progress(RunFolder(tmp_path / "run"))
    assert 0 < state.searches < state.searches_total and state.draws > 0
    assert state.state == "stopped" and state.rate is None and state.seconds_left is None


def test_a_run_that_is_driven_has_a_rate(tmp_path: Path) -> None:
    states: list[Progress] = []
    folder = RunFolder(tmp_path / "run")

    def look() -> bool:
        if len(states) < 40 and folder.is_run:
            states.append(progress(folder))
        return False

    run(stub_plan(make_stub_suite(tmp_path)[0], budget=4), folder.path, stop=look)  # type: ignore[arg-type]
    assert {state.state for state in states} == {"running"}
    assert all(state.searches <= state.searches_total for state in states)
