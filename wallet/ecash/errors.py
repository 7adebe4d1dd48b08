"""The errors of ecash, drawn in the package's docstring."""


class EcashError(Exception):
    pass


class EcashRefused(EcashError):
    """`code` is the mint's (NUT-00 errors) where it gave one."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class EcashOpen(EcashError):
    pass
