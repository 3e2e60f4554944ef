"""What HTML pages may do in the browser (`project.security_headers`)."""

# The one style sheet that stands in a page: drf-spectacular's template of Swagger UI has it. A test computes the hash.
SWAGGER_STYLE = "'sha256-MMpT0iDxyjALd9PdfepImGX3DBfJPXZ4IlDWdPAgtn0='"

# In the form of Django 6.0. Scripts come from the service's own files only, never from a page. Style attributes stay
# allowed, because the templates of the browsable API have some: they can neither run nor load anything.
SECURE_CSP = {
    "default-src": ["'none'"],
    "script-src": ["'self'"],
    "style-src": ["'self'", SWAGGER_STYLE],
    "style-src-attr": ["'unsafe-inline'"],
    "img-src": ["'self'", "data:"],
    "font-src": ["'self'"],
    "connect-src": ["'self'"],
    "form-action": ["'self'"],
    "base-uri": ["'none'"],
    "frame-ancestors": ["'none'"],
}
PERMISSIONS_POLICY = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"
