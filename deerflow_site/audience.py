"""Which addresses are read by people, and so get pages and languages; all the others are the API, which speaks JSON."""

PAGE_PREFIXES = ("/admin/", "/console/")


def is_page(path: str) -> bool:
    return path == "/" or path.startswith(PAGE_PREFIXES)
