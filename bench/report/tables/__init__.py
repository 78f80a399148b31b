"""Tables as text: in a terminal, in Markdown, LaTeX, HTML and CSV."""
