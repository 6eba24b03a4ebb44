"""What the services of this app refuse.

AccountsError
├── AlreadyMember
├── NotAMember
├── UserInactive
└── OrganizationAmbiguous
"""


class AccountsError(Exception):
    """This cannot be done with this account."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.__doc__)


class AlreadyMember(AccountsError):
    """This user is already a member of the organization."""


class NotAMember(AccountsError):
    """This user is not a member of the organization."""


class UserInactive(AccountsError):
    """This user has been deactivated."""


class OrganizationAmbiguous(AccountsError):
    """More than one organization fits: name one that is unique."""
