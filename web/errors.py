"""
PageError               a page that can't be shown; says why and what to do
|- NotFound             404
|- Forbidden            403: sign in as the operator first
|- BadRequest           400
|- Unready              503: the relay or the wallet is not there yet
"""


class PageError(Exception):
    status = 500
    title = "This did not work"


class NotFound(PageError):
    status = 404
    title = "Nothing here"


class Forbidden(PageError):
    status = 403
    title = "For the operator"


class BadRequest(PageError):
    status = 400
    title = "That can't be right"


class Unready(PageError):
    status = 503
    title = "Not ready yet"
