"""Operators' view of accounts. Keys are seen by their prefix and revoked here; they are made elsewhere."""

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.forms import AdminUserCreationForm
from django.http import HttpRequest

from accounts.models import ApiKey, ApiKeyQuerySet, Membership, Organization, User


class UserCreationForm(AdminUserCreationForm):  # type: ignore[type-arg]
    class Meta:
        model = User
        fields = ("email",)


class MembershipInline(admin.TabularInline):  # type: ignore[type-arg]
    model = Membership
    extra = 0
    autocomplete_fields = ("user",)


@admin.register(User)
class EmailUserAdmin(UserAdmin):  # type: ignore[type-arg]
    add_form = UserCreationForm
    add_fieldsets = ((None, {"fields": ("email", "usable_password", "password1", "password2")}),)
    fieldsets = (
        (None, {"fields": ("email", "password", "is_active", "selected_organization")}),
        ("Administration", {"fields": ("is_staff", "is_superuser", "groups", "user_permissions")}),
        ("Dates", {"fields": ("last_login", "date_joined")}),
    )
    readonly_fields = ("last_login", "date_joined")
    autocomplete_fields = ("selected_organization",)
    list_display = ("email", "is_active", "is_staff", "date_joined")
    list_filter = ("is_active", "is_staff", "is_superuser")
    search_fields = ("email",)
    ordering = ("email",)


@admin.register(Organization)
class OrganizationAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("name", "id", "created_at")
    readonly_fields = ("created_at",)
    search_fields = ("name",)
    ordering = ("name",)
    inlines = (MembershipInline,)


@admin.register(Membership)
class MembershipAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("user", "organization", "role")
    list_filter = ("role",)
    list_select_related = ("user", "organization")
    autocomplete_fields = ("user", "organization")
    search_fields = ("user__email", "organization__name")


@admin.register(ApiKey)
class ApiKeyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    fields = ("masked", "name", "user", "organization", "created_at", "last_used_at", "expires_at", "revoked_at")
    list_display = ("masked", "name", "user", "organization", "last_used_at", "expires_at", "revoked_at")
    list_select_related = ("user", "organization")
    search_fields = ("prefix", "name", "user__email", "organization__name")
    ordering = ("-created_at",)
    actions = ("revoke",)

    @admin.display(description="key", ordering="prefix")
    def masked(self, key: ApiKey) -> str:
        return f"{key.prefix}…"

    @admin.action(description="Revoke selected API keys", permissions=["revoke"])
    def revoke(self, request: HttpRequest, keys: ApiKeyQuerySet) -> None:
        self.message_user(request, f"{keys.revoke()} API keys revoked.")

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return super().has_change_permission(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        return not lookup.startswith("hash") and super().lookup_allowed(lookup, value, request)
