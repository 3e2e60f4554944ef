"""What HTML pages may do in the browser (`project.security_headers`)."""

# In the form of Django 6.0. Scripts and style sheets are files of the service, and none is in a page. Style attributes
# stay allowed, because the templates of the browsable API have some: they can neither run nor load anything.
SECURE_CSP = {
    "default-src": ["'none'"],
    "script-src": ["'self'"],
    "style-src": ["'self'"],
    "style-src-attr": ["'unsafe-inline'"],
    "img-src": ["'self'", "data:"],
    "font-src": ["'self'"],
    "connect-src": ["'self'"],
    "form-action": ["'self'"],
    "base-uri": ["'none'"],
    "frame-ancestors": ["'none'"],
}
PERMISSIONS_POLICY = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"

# The page at / leads there; only development names one.
RABBITMQ_MANAGEMENT_URL = ""
