"""From numbers to text and pictures: pages, tables and figures."""
