"""The page that opens in a browser: one HTML file made of records, for somebody who has no Python."""
