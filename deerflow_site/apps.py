from django.apps import AppConfig

from deerflow_site.logs import configure_structlog


class SiteConfig(AppConfig):
    name = "deerflow_site"
    verbose_name = "site"

    def ready(self) -> None:
        configure_structlog()
