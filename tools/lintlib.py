# SPDX-License-Identifier: Apache-2.0
"""What tools/layers and tools/style share: the files of the tree, TAP, and planted violations."""
import os
import re
import tempfile

SKIPPED_FOLDERS = {"corpus", "__pycache__", "node_modules"}


def tree_files(root):
    """Paths, relative to the root, of everything but build results and hidden files."""
    found = []
    for folder, names, files in os.walk(root):
        relative = os.path.relpath(folder, root)
        names[:] = sorted(n for n in names
                          if not n.startswith(".") and n not in SKIPPED_FOLDERS
                          and not (relative == "." and n.startswith("build")))
        for name in sorted(files):
            if not name.startswith("."):
                found.append(os.path.normpath(os.path.join(relative, name)))
    return found


def read_text(root, path):
    with open(os.path.join(root, path), encoding="utf-8", errors="replace") as file:
        return file.read()


def includes_of(text):
    """(line number, "quote" or "angle", path) of every #include."""
    for number, line in enumerate(text.split("\n"), 1):
        match = re.match(r'\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)', line)
        if match:
            yield number, "quote" if match[1] else "angle", match[1] or match[2]


class Tap:
    """Prints one line a case; done() gives the exit status."""

    def __init__(self):
        self.count = 0
        self.failed = 0

    def case(self, name, problems):
        self.count += 1
        for problem in problems:
            print("# " + problem)
        print(f"{'not ok' if problems else 'ok'} {self.count} - {name}", flush=True)
        self.failed += 1 if problems else 0

    def skip(self, name, reason):
        self.count += 1
        print(f"ok {self.count} - {name} # SKIP {reason}", flush=True)

    def done(self):
        print(f"1..{self.count}")
        return 1 if self.failed else 0


def planted(check, files, expected):
    """Problems of a self-check: `check(root)` of a tree of `files` must find just `expected`.

    Each expected text must be in one finding and each finding must hold one of the expected texts,
    so that a rule that stopped working, or that fires on anything, is noticed.
    """
    with tempfile.TemporaryDirectory(prefix="dilos-lint-") as root:
        for path, text in files.items():
            full = os.path.join(root, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "w", encoding="utf-8") as file:
                file.write(text)
        found = list(check(root))
    problems = [f"not caught: {want}" for want in expected
                if not any(want in item for item in found)]
    problems += [f"unexpected: {item}" for item in found
                 if not any(want in item for want in expected)]
    return problems
