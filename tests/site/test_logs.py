import json
import logging
import logging.config

import pytest
import structlog

from deerflow_site.logs import configure_structlog, logging_config


@pytest.fixture
def formatter():
    """The formatter of the JSON lines, as logging builds it."""
    config = logging.config.DictConfigurator(logging_config("INFO", for_a_person=False))
    return config.configure_formatter(dict(config.config["formatters"]["line"]))


def record(message: str, *args: object, exc_info: object = None) -> logging.LogRecord:
    return logging.LogRecord("runs.host", logging.ERROR, __file__, 1, message, args, exc_info)


def test_a_line_is_one_json_object(formatter):
    line = formatter.format(record("lost\n%s", "worker"))
    assert "\n" not in line
    fields = json.loads(line)
    assert (fields["event"], fields["level"], fields["logger"]) == ("lost\nworker", "error", "runs.host")
    assert fields["timestamp"].endswith("Z")


def test_a_traceback_stays_on_its_line_without_local_variables(formatter):
    password = "hunter2"
    try:
        raise ValueError(len(password))
    except ValueError as error:
        line = formatter.format(record("failed", exc_info=(type(error), error, error.__traceback__)))
    assert "\n" not in line
    assert "ValueError: 7" in json.loads(line)["exception"]
    assert "= 'hunter2'" not in line


def test_structlog_events_keep_their_fields(formatter, caplog):
    configure_structlog()
    structlog.get_logger("runs.engine").warning("engine_replaced", pid=7)
    fields = json.loads(formatter.format(caplog.records[-1]))
    assert (fields["event"], fields["pid"], fields["level"]) == ("engine_replaced", 7, "warning")
