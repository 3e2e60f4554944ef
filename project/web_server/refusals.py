"""Responses of the web server itself, to requests that do not reach the service."""


def refusal(status: str, text: str, *headers: str) -> bytes:
    """Return a whole response, which ends the connection: plain text, which no browser takes for anything else."""
    kind = ("Content-Type: text/plain; charset=utf-8", "X-Content-Type-Options: nosniff")
    body = text.encode()
    head = [f"HTTP/1.1 {status}", "Connection: close", *kind, f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(head).encode() + body


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
TOO_LATE = refusal("408 Request Timeout", "The request did not come in time. Send it again.\n")
TOO_LONG = refusal("431 Request Header Fields Too Large", "The head of the request is too long.\n")
TOO_MANY = refusal("503 Service Unavailable", "There are too many connections. Try again.\n", "Retry-After: 5")
