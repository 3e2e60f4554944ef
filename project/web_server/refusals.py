"""Responses of the web server itself, to requests that do not reach the service."""


def _refusal(status: str, text: str, *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status}", "Connection: close", "Content-Type: text/plain", f"Content-Length: {len(text)}"]
    return "\r\n".join([*head, *headers, "", text]).encode()


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
TOO_LATE = _refusal("408 Request Timeout", "The request did not come in time. Send it again.\n")
TOO_LONG = _refusal("431 Request Header Fields Too Large", "The head of the request is too long.\n")
TOO_MANY = _refusal("503 Service Unavailable", "There are too many connections. Try again.\n", "Retry-After: 5")
