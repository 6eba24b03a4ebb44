import pytest
from django.http import HttpResponse
from django.test import Client
from django.utils.translation import get_language

from deerflow_site.middleware import PageLocaleMiddleware
from runs.models import Graph

pytestmark = pytest.mark.django_db


def test_the_front_page_shows_the_graphs_and_the_readers_own_address(client):
    Graph.objects.create(graph_id="research.team")
    page = client.get("/", headers={"host": "localhost:9000"}).content.decode()
    assert "research.team" in page
    assert 'url="http://localhost:9000"' in page.replace("&quot;", '"')
    assert "manage.py createkey --email you@example.org" in page


def test_the_front_page_asks_the_database_once(client, django_assert_num_queries):
    Graph.objects.create(graph_id="lead_agent")
    with django_assert_num_queries(1):
        client.get("/")


def test_a_broken_graph_is_marked_and_its_error_stays_inside(client):
    Graph.objects.create(graph_id="broken", error="No module named 'secret_place'")
    page = client.get("/").content.decode()
    assert "cannot run" in page
    assert "secret_place" not in page


def test_the_example_calls_a_graph_that_can_run(client):
    Graph.objects.create(graph_id="a-broken-one", error="boom")
    Graph.objects.create(graph_id="working")
    assert '    "working",' in client.get("/").content.decode()


def test_a_page_without_graphs_still_has_its_example(client):
    page = client.get("/").content.decode()
    assert "None yet." in page
    assert '    "lead_agent",' in page


def test_the_front_page_speaks_the_readers_language(client):
    response = client.get("/", headers={"accept-language": "zh-CN,zh;q=0.9"})
    assert response.headers["Content-Language"] == "zh-hans"
    assert '<html lang="zh-hans">' in response.content.decode()
    assert "创建密钥" in response.content.decode()


def test_the_api_answers_in_one_language_whatever_was_served_before(rf):
    languages = PageLocaleMiddleware(lambda request: HttpResponse(get_language()))
    chinese = {"accept-language": "zh-CN"}
    assert languages(rf.get("/", headers=chinese)).content == b"zh-hans"
    response = languages(rf.get("/threads", headers=chinese))
    assert response.content == b"en"
    assert "Content-Language" not in response.headers
    assert "Vary" not in response.headers


def test_pages_hold_no_script_or_style_of_their_own(client):
    response = client.get("/")
    assert response.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'self';")
    page = response.content.decode()
    assert "<script" not in page and "<style" not in page and "style=" not in page


def test_the_front_page_takes_no_post():
    assert Client(enforce_csrf_checks=False).post("/").status_code == 405


@pytest.mark.parametrize("path", ["/static/site/page.css", "/static/site/mark.svg"])
def test_static_files_are_served_without_collecting_them(client, settings, path):
    settings.WHITENOISE_AUTOREFRESH = False  # as the server has it
    response = client.get(path)
    assert response.status_code == 200
    assert b"".join(response.streaming_content)


def test_the_reference_page_reads_the_schema(client):
    page = client.get("/docs")
    assert page.status_code == 200
    assert "'unsafe-inline'" not in page.headers["Content-Security-Policy"].split("style-src")[0]
    assert "/openapi.json" in client.get("/docs?script=").content.decode()


def test_the_reference_page_is_dark_where_the_readers_system_is(client):
    page = client.get("/docs").content.decode()
    for path in ("/static/site/reference.js", "/static/site/reference.css"):
        assert path in page
        assert b"dark-mode" in b"".join(client.get(path).streaming_content)


def test_the_schema_describes_each_address_once(client):
    schema = client.get("/openapi.json").json()
    paths = set(schema["paths"])
    assert paths
    assert not {f"/api{path}" for path in paths} & paths
    assert {"apiKey", "bearer"} <= set(schema["components"]["securitySchemes"])
