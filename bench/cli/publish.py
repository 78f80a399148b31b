"""``bench publish``."""

from __future__ import annotations

import argparse

from bench.cli.common import complain, fail


def publish_command(parsed: argparse.Namespace) -> int:
    """Copy finished runs for a repository; the exit code."""
    from bench.records.publish import RefusedError, publish_all
    from bench.records.read import find_records

    if parsed.every is not None and parsed.every < 1:
        return fail("publish", f"--every must be a number of steps >= 1, got {parsed.every}")
    found = find_records(parsed.folder)
    if not found or found == [parsed.folder]:
        there = "found none below" if not found else "there is only one, in"
        return fail("publish", f"RUNS must hold folders of records, {there} {str(parsed.folder)!r}")
    try:
        published = publish_all(
            parsed.folder, parsed.destination, parsed.every, force=parsed.force, weights=parsed.weights
        )
    except RefusedError as error:
        return fail("publish", str(error))
    except OSError as error:
        return fail("publish", f"DEST must be a folder that can be written to, {error}")
    print(published)
    return complain("publish", published.damaged)
