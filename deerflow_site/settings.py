"""The settings of the site, read from the environment; `docs/reference/settings.md` lists every variable.

A value that cannot be used stops the start with a sentence that names its variable.
"""

import hashlib
import hmac
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from corsheaders.defaults import default_headers
from django.core.exceptions import ImproperlyConfigured

from deerflow_site import __version__
from deerflow_site import environment as env
from deerflow_site.logs import logging_config

# A checkpoint may hold whatever a graph put into its state. Strict deserialization builds message classes, plain values
# and the types that the graph's own schemas name, and leaves everything else as data instead of importing and calling
# it. langgraph reads this once, when it is imported; engine processes inherit it.
os.environ.setdefault("LANGGRAPH_STRICT_MSGPACK", "true")
# No conversation leaves the machine for a tracing service unless the operator asks for it.
os.environ.setdefault("LANGSMITH_TRACING", "false")

VERSION = __version__
BASE_DIR = Path(__file__).resolve().parent.parent
PRODUCTION = env.choice("DEERFLOW_ENV", "development", ("development", "production")) == "production"
DEBUG = env.flag("DEBUG", False)
if PRODUCTION and DEBUG:
    raise ImproperlyConfigured("DEBUG must be off when DEERFLOW_ENV is production: its error pages show settings.")

# Where the server listens and keeps its files.

HOST = env.text("HOST", "127.0.0.1")
PORT = env.integer("PORT", 8000, at_most=65535)
WEB_THREADS = env.integer("WEB_THREADS", 8, at_least=1)
#: How long a thread may keep the interpreter from the others. Python's own five milliseconds are as long as a whole
#: run: each statement of a transaction would wait for them, with the database's lock in hand.
THREAD_SWITCH_SECONDS = 0.0005
DATA_DIR = env.directory("DEERFLOW_DATA_DIR", BASE_DIR / ".data")
CHECKPOINTS_PATH = DATA_DIR / "checkpoints.sqlite3"

# Who may talk to it.

SECRET_KEY = env.text("SECRET_KEY")
if PRODUCTION and len(SECRET_KEY) < 32:
    raise ImproperlyConfigured("SECRET_KEY must be set to at least 32 characters when DEERFLOW_ENV is production.")
SECRET_KEY = SECRET_KEY or env.kept_secret(DATA_DIR / "secret_key")

EVERY_INTERFACE = {"", "0.0.0.0", "::"}
LOCAL_NAMES = ["localhost", "127.0.0.1", "[::1]"]
ALLOWED_HOSTS = env.listing("ALLOWED_HOSTS")
if PRODUCTION and not ALLOWED_HOSTS:
    raise ImproperlyConfigured("ALLOWED_HOSTS must name the site's hosts when DEERFLOW_ENV is production.")
if not ALLOWED_HOSTS:
    ALLOWED_HOSTS = [*LOCAL_NAMES, *({HOST} - EVERY_INTERFACE - set(LOCAL_NAMES))]

TRUSTED_PROXIES = env.networks("TRUSTED_PROXIES")
if TRUSTED_PROXIES:
    # Safe because TrustedProxyMiddleware removes the header from everybody else's requests.
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# The first two deploy warnings are matters of the domain, not of this server; the third is the work of the TLS proxy,
# and a redirect would lose the body of an API call.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021", "security.W008"]
SECURE_HSTS_SECONDS = 31536000 if PRODUCTION else 0
SESSION_COOKIE_SECURE = PRODUCTION
CSRF_COOKIE_SECURE = PRODUCTION

CORS_ORIGINS = env.origins("CORS_ORIGINS")
CORS_ALLOW_ALL_ORIGINS = CORS_ORIGINS == ["*"]
CORS_ALLOWED_ORIGINS = [] if CORS_ALLOW_ALL_ORIGINS else CORS_ORIGINS
CORS_ALLOWED_ORIGIN_REGEXES: list[str] = []
if not CORS_ORIGINS and not PRODUCTION:
    CORS_ALLOWED_ORIGIN_REGEXES = [r"^https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$"]
# Cookies cross origins only for origins that the operator named one by one.
CORS_ALLOW_CREDENTIALS = bool(CORS_ALLOWED_ORIGINS)
CSRF_TRUSTED_ORIGINS = CORS_ALLOWED_ORIGINS
CORS_ALLOW_HEADERS = [*default_headers, "x-api-key", "last-event-id", "idempotency-key", "prefer"]
CORS_EXPOSE_HEADERS = ["x-pagination-total", "x-pagination-next", "content-location", "location"]
CORS_URLS_REGEX = r"^/(?!admin/|console/)"

# What it is made of.

POSTGRES = env.postgres("DATABASE_URL")
REDIS_URL = env.redis("REDIS_URL")

INSTALLED_APPS = [
    # Its migrations are PostgreSQL's, and it stands before the apps that defer jobs.
    *(["procrastinate.contrib.django"] if POSTGRES else []),
    "deerflow_site",
    "runs",
    "accounts",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "corsheaders",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
]

# Every entry is paid for by every API request, and all of them run synchronously in the request's one thread.
MIDDLEWARE = [
    *(["deerflow_site.middleware.TrustedProxyMiddleware"] if TRUSTED_PROXIES else []),
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "deerflow_site.middleware.PageLocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
APPEND_SLASH = False  # One address for each thing; a redirect would lose the body of a POST.

ROOT_URLCONF = "deerflow_site.urls"
ASGI_APPLICATION = "deerflow_site.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

STATIC_URL = "/static/"
WHITENOISE_USE_FINDERS = True  # Static files are served out of the apps: there is nothing to collect.

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("zh-hans", "简体中文")]
TIME_ZONE = "UTC"
USE_TZ = True

# Database, cache, doorbell. Durations are in seconds.

#: How long a run stays its host's without a word from it, and how often the host gives one.
LEASE_SECONDS = env.seconds("LEASE_SECONDS", 30)
HEARTBEAT_SECONDS = env.seconds("HEARTBEAT_SECONDS", 10)
if HEARTBEAT_SECONDS * 2 > LEASE_SECONDS:
    raise ImproperlyConfigured("HEARTBEAT_SECONDS must be at most half of LEASE_SECONDS, so that one may be missed.")

#: Threads from which coroutines reach the database: streams only read a few rows there, and hosts do their upkeep.
DATABASE_THREADS = 4
#: Threads in which hosts take, keep and give up runs.
LEASE_THREADS = 2
#: Threads that perform what clients command by sockets.
SOCKET_THREADS = env.integer("SOCKET_THREADS", 4, at_least=1)
SQLITE: dict[str, Any] = {
    "ENGINE": "deerflow_site.sqlite",
    "NAME": DATA_DIR / "db.sqlite3",
    "CONN_MAX_AGE": None,
    "OPTIONS": {
        # A transaction that reads before it writes would otherwise fail at once when another writer got in between.
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA busy_timeout=20000;",
    },
}
if POSTGRES:
    POSTGRES["ENGINE"] = "deerflow_site.postgres"
    POSTGRES["CONN_MAX_AGE"] = 0  # The pool keeps the connections.
    POSTGRES["CONN_HEALTH_CHECKS"] = True
    POSTGRES["OPTIONS"] = {
        "application_name": "deerflow",
        # PostgreSQL plans what is asked again and again once for each connection.
        "server_side_binding": True,
        "prepare_threshold": 3,
        "connect_timeout": 3,
        # Notice a server that is gone without a word.
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 15000,
        **POSTGRES.get("OPTIONS", {}),
        "options": " ".join(
            [
                POSTGRES.get("OPTIONS", {}).get("options", ""),
                # Who was stopped in the middle of a transaction must not keep its runs from being taken over.
                f"-c idle_in_transaction_session_timeout={max(2000, int(LEASE_SECONDS * 1000 / 3))}",
                # Nobody waits for ever for what somebody else holds, or for a plan that went wrong.
                "-c lock_timeout=10000 -c statement_timeout=30000",
            ]
        ).strip(),
        # One connection for each thread that may want one. While the database is away, whoever asks is told soon, and
        # the pool tries again when it is asked, not after ever longer pauses.
        "pool": {
            "min_size": 1,
            "max_size": WEB_THREADS + DATABASE_THREADS + LEASE_THREADS + SOCKET_THREADS,
            "timeout": 2,
            "reconnect_timeout": 2,
            "max_idle": 60,
            "num_workers": 1,
        },
    }
DATABASES = {"default": POSTGRES or SQLITE}

CACHES: dict[str, Any] = {
    "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}
    if REDIS_URL
    else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
}
# Whoever shares a Redis hears the others, whatever the number of the database: each deployment has channels of its own.
CHANNEL_PREFIX = hmac.new(
    SECRET_KEY.encode(), f"channels {DATABASES['default']['NAME']}".encode(), hashlib.sha256
).hexdigest()[:16]
CHANNEL_LAYERS: dict[str, Any] = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [REDIS_URL], "prefix": CHANNEL_PREFIX},
    }
    if REDIS_URL
    else {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"capacity": 10000}}
}

# Sign-in.

AUTH_USER_MODEL = "accounts.User"
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
SIMPLE_JWT = {
    "ALGORITHM": "HS256",
    # A key of its own: a token signed for one purpose is worth nothing for another.
    "SIGNING_KEY": hmac.new(SECRET_KEY.encode(), b"deerflow_site.jwt", hashlib.sha256).hexdigest(),
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=15),
    "USER_ID_CLAIM": "user_id",
}

# The API.

#: What a request's body may weigh. An input becomes an event, and an event may not weigh more.
MAX_BODY_BYTES = 4 * 1024 * 1024
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_BYTES

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "accounts.authentication.ApiKeyAuthentication",
        "accounts.authentication.BearerAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["accounts.permissions.TenantPermission"],
    "DEFAULT_RENDERER_CLASSES": ["runs.api.wire.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["runs.api.wire.JSONParser"],
    "EXCEPTION_HANDLER": "runs.api.errors.exception_handler",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "UNAUTHENTICATED_USER": None,
    "URL_FORMAT_OVERRIDE": None,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "DeerFlow server",
    "DESCRIPTION": "Threads, runs, assistants and their streams. Send your API key as `X-Api-Key`.",
    "VERSION": VERSION,
    "OAS_VERSION": "3.1.0",
    "COMPONENT_SPLIT_PATCH": False,
    "DISABLE_DOCSTRING_DESCRIPTIONS": True,  # They speak to those who work on the code.
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SERVE_AUTHENTICATION": [],
    "SERVE_INCLUDE_SCHEMA": False,
    "PREPROCESSING_HOOKS": ["deerflow_site.openapi.without_repeated_addresses"],
}

# Graphs and their runs. Durations are in seconds.

LANGGRAPH_CONFIG = env.existing_file("LANGGRAPH_CONFIG", Path("langgraph.json"))
DEERFLOW_MODEL = env.text("DEERFLOW_MODEL")  # Empty: the built-in agents use their offline model.
WEBHOOK_ALLOW_PRIVATE = env.flag("WEBHOOK_ALLOW_PRIVATE", False)

MAX_ATTEMPTS = env.integer("MAX_ATTEMPTS", 3, at_least=1)
MAX_CRONS_PER_ORGANIZATION = env.integer("MAX_CRONS_PER_ORGANIZATION", 1000, at_least=0)
RUN_TIMEOUT = env.seconds("RUN_TIMEOUT", 3600)
CANCEL_GRACE = env.seconds("CANCEL_GRACE", 3)
DRAIN_SECONDS = env.seconds("DRAIN_SECONDS", 30)
ENGINE_PROCESSES = env.integer("ENGINE_PROCESSES", 1, at_least=1)
ENGINE_CONCURRENCY = env.integer("ENGINE_CONCURRENCY", 200, at_least=1)
FLUSH_SECONDS = env.seconds("FLUSH_SECONDS", 0, or_zero=True)
ENGINE_MEMORY_MB = env.integer("ENGINE_MEMORY_MB", 0)  # 0: no limit.

DISCONNECT_GRACE = env.seconds("DISCONNECT_GRACE", 2)
STREAM_HEARTBEAT = env.seconds("STREAM_HEARTBEAT", 5)
FOLLOW_MAX_EVENTS = env.integer("FOLLOW_MAX_EVENTS", 256, at_least=1)
FOLLOW_MAX_BYTES = env.integer("FOLLOW_MAX_BYTES", 1048576, at_least=1)
SOCKET_COMMANDS_PER_SECOND = env.integer("SOCKET_COMMANDS_PER_SECOND", 20, at_least=1)
SOCKET_COMMAND_BURST = env.integer("SOCKET_COMMAND_BURST", 100, at_least=1)
SOCKET_MAX_SUBSCRIPTIONS = env.integer("SOCKET_MAX_SUBSCRIPTIONS", 64, at_least=1)
SOCKET_MAX_PER_CREDENTIAL = env.integer("SOCKET_MAX_PER_CREDENTIAL", 200, at_least=1)
EVENT_RETENTION_DAYS = env.integer("EVENT_RETENTION_DAYS", 30, at_least=1)

MULTITASK_STRATEGIES = ("reject", "enqueue", "interrupt", "rollback")
DEFAULT_ASSISTANT = env.text("DEFAULT_ASSISTANT", "lead_agent")
DEFAULT_MULTITASK_STRATEGY = env.choice("DEFAULT_MULTITASK_STRATEGY", "reject", MULTITASK_STRATEGIES)
DEFAULT_ON_DISCONNECT = env.choice("DEFAULT_ON_DISCONNECT", "cancel", ("cancel", "continue"))
DEFAULT_IF_NOT_EXISTS = env.choice("DEFAULT_IF_NOT_EXISTS", "create", ("create", "reject"))
DEFAULT_ON_COMPLETION = env.choice("DEFAULT_ON_COMPLETION", "keep", ("keep", "delete"))

METRICS_TOKEN = env.text("METRICS_TOKEN")
LOG_LEVEL = env.choice("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"))
LOGGING = logging_config(LOG_LEVEL, for_a_person=sys.stderr.isatty())
