"""The API of accounts, included by the site under /api/v1."""

from django.urls import path

from accounts.views import WebSocketTicketView

urlpatterns = [path("auth/ws-ticket", WebSocketTicketView.as_view())]
