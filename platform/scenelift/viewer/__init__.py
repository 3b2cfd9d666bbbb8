"""Viewer: clouds, photos, labels and boxes in the browser, and as pages that open without a server."""
