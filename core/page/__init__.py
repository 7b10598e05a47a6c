"""HTML pages that load nothing: templates, the one style and script of all pages, and charts."""
