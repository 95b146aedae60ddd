"""Prints every failed test of the JUnit reports in a folder, and the counts of all of them on the last line.

Usage: report.py FOLDER [COMMAND ...], with the commands that ended with an error. The log of a run may be
kept only in part, so everything that failed is named once more at its end.
"""

import sys
from pathlib import Path
from xml.etree import ElementTree

MESSAGE_LINES = 25


def main(folder: Path, failed_commands: list[str]) -> int:
    passed = failed = skipped = 0
    for report in sorted(folder.glob("*.xml")):
        for case in ElementTree.parse(report).iter("testcase"):
            problems = [*case.findall("failure"), *case.findall("error")]
            if problems:
                failed += 1
                print_failure(f"{report.stem}: {case.get('classname')}: {case.get('name')}", problems)
            elif case.find("skipped") is not None:
                skipped += 1
            else:
                passed += 1
    for command in failed_commands:
        print(f"FAILED {command}")
    # A command that failed without a failed test, and a run without tests, count as a failure.
    if failed == 0 and (failed_commands or passed == 0):
        failed = 1
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


def print_failure(name: str, problems: list[ElementTree.Element]) -> None:
    print(f"FAILED {name}")
    for problem in problems:
        lines = (problem.text or problem.get("message") or "").strip().splitlines()
        print("\n".join(f"    {line}" for line in lines[:MESSAGE_LINES]))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
