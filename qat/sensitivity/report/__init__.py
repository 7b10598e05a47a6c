"""Reports: results.json, the skip list, the terminal table and the page."""
